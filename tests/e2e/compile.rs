//! Compiling plugins: in a process of its own, once, and from the cache after that.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use rustix::process::{Pid, Signal, kill_process};
use tidegate_tests::{Broker, Config, Gateway, Plan, Setup, Watch, cases, wait_until};

use crate::guest::component;
use crate::scene::{Scene, UP, compare, plugin_file};

pub fn cases() -> Vec<Trial> {
    cases![
        a_second_start_runs_no_compiler,
        altered_code_is_never_run,
        a_component_that_takes_too_much_memory_is_refused,
        a_component_that_takes_too_long_does_not_start,
        a_kill_while_a_candidate_is_compiled_costs_nothing,
    ]
}

const FILE: &str = "count.wasm";

const THREE: [&str; 3] = [
    "plugin = \"builtin:decode-json\"\nsettings = { pick = [\"temperature\"] }",
    "plugin = \"builtin:filter\"\nsettings = { where = [{ field = \"temperature\", op = \">\", value = 20 }] }",
    "plugin = \"builtin:threshold\"\nsettings = { field = \"temperature\", above = 90 }",
];

/// The three shipped plugins; where their alarms go is no matter here.
fn three(field: &Broker, cloud: &Broker) -> Setup {
    let config = Config::forwarding()
        .between(&field.url(), &cloud.url())
        .set("flow.all.to.alarms", "drop");
    Gateway::with(
        THREE
            .iter()
            .fold(config, |config, step| config.step("all", step)),
    )
}

fn code(gateway: &Gateway, origin: &str) -> f64 {
    gateway.metric("tidegate_plugin_code_total", &[("origin", origin)])
}

fn origins(gateway: &Gateway) -> [f64; 3] {
    ["cached", "compiled", "recompiled"].map(|origin| code(gateway, origin))
}

/// The files of the cache, without its key.
fn cached(setup: &Setup) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(setup.data().join("cache")).context("there is no cache")?;
    let paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    Ok(paths
        .into_iter()
        .filter(|path| !path.ends_with("key"))
        .collect())
}

/// The gateway with the three shipped plugins is started twice, the second time after a kill.
/// Guarantee: the second start compiles nothing.
fn a_second_start_runs_no_compiler() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let gateway = three(&field, &cloud).start()?;
    ensure!(
        origins(&gateway) == [0.0, 3.0, 0.0],
        "first start: {:?}",
        origins(&gateway)
    );
    let gateway = gateway.kill()?.start()?;
    ensure!(
        origins(&gateway) == [3.0, 0.0, 0.0],
        "second start: {:?}",
        origins(&gateway)
    );
    Ok(())
}

/// One bit in every file of the cache is flipped, anywhere; then one is cut short, one replaced by another's content.
/// Guarantee: nothing of it is run; the plugins are compiled again, it is said and counted, and messages flow.
fn altered_code_is_never_run() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let (_, setup) = three(&field, &cloud).start()?.stop()?;
    let files = cached(&setup)?;
    ensure!(files.len() == 3, "{files:?}");
    for file in &files {
        let mut bytes = fs::read(file)?;
        let at = fastrand::usize(..bytes.len());
        bytes[at] ^= 1 << fastrand::u8(..8);
        fs::write(file, bytes)?;
    }
    let gateway = setup.start()?;
    ensure!(
        origins(&gateway) == [0.0, 0.0, 3.0],
        "flipped bits: {:?}",
        origins(&gateway)
    );
    gateway.lines().wait_for(&["is compiled again"])?;
    let watch = Watch::start(cloud.address(), UP)?;
    field.publish("devices/d1/telemetry", r#"{"temperature":25}"#)?;
    wait_until("messages flow", || watch.total() == 1)?;
    let (_, setup) = gateway.stop()?;
    fs::copy(&files[0], &files[1])?;
    fs::write(&files[2], b"")?;
    let gateway = setup.start()?;
    ensure!(
        origins(&gateway) == [1.0, 0.0, 2.0],
        "swapped and cut files: {:?}",
        origins(&gateway)
    );
    Ok(())
}

/// A component of 130 KiB whose compilation takes some 500 MiB is put in the place of a running plugin, under load.
/// Guarantee: the compiler's process ends at its limit, the candidate is refused with the reason, the gateway's own
/// memory does not grow by it, and the running version loses nothing.
fn a_component_that_takes_too_much_memory_is_refused() -> Result<()> {
    let config = Config::forwarding()
        .step("all", &plugin_file("count", FILE))
        .add("gateway", "plugin_compile_memory = \"256MiB\"");
    let scene = Scene::with(&config, &[(FILE, component("count")?)])?;
    let load = scene.load(Plan::default());
    wait_until("traffic flows", || scene.watch.count() > 200)?;
    scene.gateway.replace(FILE, &bomb())?;
    wait_until("the candidate is refused", || {
        scene
            .gateway
            .metric("tidegate_swap_transitions_total", &[("state", "refused")])
            >= 1.0
    })?;
    wait_until("the reason is said", || {
        scene
            .gateway
            .lines()
            .has(&["count", "more than 256 MiB of memory"])
    })?;
    let peak = peak_kib(scene.gateway.pid())?;
    let before = scene.watch.count();
    wait_until("the running version goes on", || {
        scene.watch.count() > before + 200
    })?;
    let verdict = compare(&load.stop()?, scene.watch)?;
    ensure!(verdict.is_exactly_once(), "{verdict}");
    eprintln!("peak of the gateway's resident memory: {} MiB", peak >> 10);
    ensure!(peak < 128 << 10, "the gateway took {peak} KiB");
    Ok(())
}

/// A gateway whose plugin may be compiled for a millisecond.
/// Guarantee: it does not start, says why and ends with the code for a plugin that cannot be used.
fn a_component_that_takes_too_long_does_not_start() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let text = Config::forwarding()
        .step("all", &plugin_file("count", FILE))
        .between(&field.url(), &cloud.url());
    let setup = Gateway::with(text).env("TIDEGATE_GATEWAY__PLUGIN_COMPILE_TIME", "1ms");
    fs::write(setup.folder().join(FILE), component("count")?)?;
    let (status, lines) = setup.fail()?;
    ensure!(status.code() == Some(4), "ended with {status}");
    ensure!(lines.has(&["longer than 1ms"]), "{:?}", lines.all());
    Ok(())
}

/// The gateway is killed while the compiler works on a candidate.
/// Guarantee: the compiler ends with it; the next start takes the good version from the cache.
fn a_kill_while_a_candidate_is_compiled_costs_nothing() -> Result<()> {
    let scene = Scene::with(
        &Config::forwarding().step("all", &plugin_file("count", FILE)),
        &[(FILE, component("count")?)],
    )?;
    let pid = scene.gateway.pid();
    scene.gateway.replace(FILE, &bomb())?;
    let compiler = wait_for_compiler(pid)?;
    let setup = scene.gateway.kill()?;
    wait_until("the compiler is gone", || !is_compiler(compiler))?;
    fs::write(setup.folder().join(FILE), component("count")?)?;
    let gateway = setup.start()?;
    ensure!(
        origins(&gateway) == [1.0, 0.0, 0.0],
        "{:?}",
        origins(&gateway)
    );
    scene.field.publish("devices/d1/telemetry", "x")?;
    wait_until("messages flow", || scene.watch.total() >= 1)
}

fn peak_kib(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// The compiler that this gateway has started, when it has.
fn wait_for_compiler(gateway: u32) -> Result<u32> {
    let mut compiler = None;
    wait_until("the compiler runs", || {
        compiler = compiler_of(gateway);
        compiler.is_some()
    })?;
    compiler.context("just seen")
}

/// Waits until this gateway's compiler runs, and stops its clock.
pub fn freeze_compiler(gateway: u32) -> Result<()> {
    let pid = i32::try_from(wait_for_compiler(gateway)?)?;
    Ok(kill_process(
        Pid::from_raw(pid).context("a process's id is not 0")?,
        Signal::STOP,
    )?)
}

fn is_compiler(pid: u32) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).contains("compile-plugin")
}

/// A compiler that `parent` has started.
fn compiler_of(parent: u32) -> Option<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids =
        processes.filter_map(|process| process.file_name().to_str()?.parse::<u32>().ok());
    let line = format!("PPid:\t{parent}\n");
    pids.find(|pid| {
        fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|text| text.contains(&line))
            && is_compiler(*pid)
    })
}

/// One function with 2,000 locals and 8,000 branches, each of which may change some: every join of them has to know
/// all locals.
pub fn bomb() -> Vec<u8> {
    const LOCALS: u32 = 2_000;
    let mut body = [leb(1), leb(LOCALS), vec![0x7f]].concat();
    for branch in 0..8_000 {
        let local = |step: u32| leb(branch * step % LOCALS);
        // block; local.get; br_if 0; local.get; i32.const 1; i32.add; local.set; end
        body.extend(
            [
                &[0x02, 0x40, 0x20],
                &*local(7),
                &[0x0d, 0x00, 0x20],
                &*local(13),
            ]
            .concat(),
        );
        body.extend([&[0x41, 0x01, 0x6a, 0x21], &*local(31), &[0x0b]].concat());
    }
    body.push(0x0b);
    let code = [leb(1), leb(body.len() as u32), body].concat();
    let types = section(1, &[1, 0x60, 0, 0]);
    let module = [
        b"\0asm\x01\0\0\0".to_vec(),
        types,
        section(3, &[1, 0]),
        section(10, &code),
    ]
    .concat();
    [b"\0asm\x0d\0\x01\0".to_vec(), section(1, &module)].concat()
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id], &*leb(content.len() as u32), content].concat()
}

fn leb(mut number: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}
