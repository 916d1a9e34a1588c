//! What the service manager hears: a real socket in the place of systemd's.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tidegate_tests::{
    Broker, Config, Gateway, Setup, Watch, cases, port, rounds, wait_until, where_possible,
};

use crate::http_in::{answer, post};
use crate::scene::UP;
use crate::tools::told;

pub fn cases() -> Vec<Trial> {
    let long = |name: &'static str, run: fn() -> Result<()>| {
        let is_there = || rounds(0, 1) == 1 && rustix::process::geteuid().is_root();
        let needed = "TIDEGATE_SOAK (it takes a minute), python3 and root";
        where_possible(name, needed, is_there, run)
    };
    let mut cases = cases![
        a_start_a_reload_and_a_stop_are_told,
        whoever_asks_while_it_is_started_again_waits_and_is_not_turned_away,
        more_descriptors_than_anybody_can_pass_are_told_once,
    ];
    cases.extend(cases![long; the_watchdog_starves_while_a_loop_stands]);
    cases
}

/// What is not said within it is not said at all.
const PATIENCE: Duration = Duration::from_secs(60);

/// In the place of systemd.
struct ServiceManager {
    socket: UnixDatagram,
    /// Descriptors that it keeps, by their names.
    kept: RefCell<BTreeMap<String, OwnedFd>>,
}

impl ServiceManager {
    fn listen(folder: &Path) -> Result<Self> {
        let socket = UnixDatagram::bind(folder.join("notify"))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            socket,
            kept: RefCell::default(),
        })
    }

    /// Hears what has been said, and how many descriptors it keeps then.
    fn attend(&self) -> Result<usize> {
        self.socket.set_nonblocking(true)?;
        while self.hear().is_ok() {}
        self.socket.set_nonblocking(false)?;
        Ok(self.kept.borrow().len())
    }

    /// What is said next; what it is to keep, or to forget, it does.
    fn hear(&self) -> Result<String> {
        let (mut buffer, mut room) = ([0; 1024], [MaybeUninit::uninit(); 64]);
        let mut beside = RecvAncillaryBuffer::new(&mut room);
        let mut words = [IoSliceMut::new(&mut buffer)];
        let came = recvmsg(&self.socket, &mut words, &mut beside, RecvFlags::empty());
        let length = came.context("nothing more was said")?.bytes;
        let said = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let name = said.lines().find_map(|line| line.strip_prefix("FDNAME="));
        let name = name.unwrap_or_default().to_owned();
        let mut kept = self.kept.borrow_mut();
        if said.starts_with("FDSTOREREMOVE=1") {
            ensure!(kept.remove(&name).is_some(), "{name} was not kept");
        }
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(mut descriptors) = message {
                ensure!(said.starts_with("FDSTORE=1"), "{said}");
                // Of the same name the new one is what it was.
                kept.insert(name.clone(), descriptors.next().context("no descriptor")?);
            }
        }
        Ok(said)
    }

    /// The words to run a program by that is to have what is kept, from descriptor 3 on.
    fn passing(&self) -> Result<Vec<String>> {
        let kept = self.kept.borrow();
        let mut script = String::new();
        for (place, descriptor) in (3..).zip(kept.values()) {
            fcntl_setfd(descriptor, FdFlags::empty())?;
            script.push_str(&format!("exec {place}<&{};", descriptor.as_raw_fd()));
        }
        let count = kept.len();
        script.push_str(&format!(
            "LISTEN_FDS={count} LISTEN_PID=$$ exec \"$0\" \"$@\""
        ));
        Ok(["bash", "-c", &script].map(str::to_owned).to_vec())
    }

    /// Waits until something is said that begins so; a status takes one line, whichever it is.
    fn hear_of(&self, beginning: &str) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut others = Vec::new();
        while Instant::now() < deadline {
            let said = self.hear()?;
            ensure!(
                !said.starts_with("STATUS=") || !said.contains('\n'),
                "{said}"
            );
            if said.starts_with(beginning) {
                return Ok(said);
            }
            others.push(said);
        }
        bail!("{beginning} was not said, but {others:?}")
    }
}

/// A gateway whose service manager listens in its folder.
fn watched(field: &Broker, cloud: &Broker, watchdog: &str) -> Result<(ServiceManager, Setup)> {
    let setup = Gateway::with(Config::forwarding().between(&field.url(), &cloud.url()));
    let manager = ServiceManager::listen(setup.folder())?;
    let socket = setup.folder().join("notify").display().to_string();
    let setup = setup
        .env("NOTIFY_SOCKET", &socket)
        .env("WATCHDOG_USEC", watchdog);
    Ok((manager, setup))
}

/// An environment that claims a thousand million descriptors.
/// Guarantee: that is told in one line, the gateway runs, and it ends when it is asked to.
fn more_descriptors_than_anybody_can_pass_are_told_once() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let setup = Gateway::with(Config::forwarding().between(&field.url(), &cloud.url()));
    let passing = "exec 3</dev/null; LISTEN_FDS=1000000000 LISTEN_PID=$$ exec \"$0\" \"$@\"";
    let gateway = setup.under(&["bash", "-c", passing]).start()?;
    let told = gateway.lines().all();
    let told = told
        .iter()
        .filter(|line| line.contains("LISTEN_FDS in the environment is no count"));
    ensure!(told.count() == 1, "{:#?}", gateway.lines().all());
    gateway.terminate()?;
    let (status, _) = gateway.end()?;
    ensure!(status.success(), "ended with {status}");
    Ok(())
}

/// A gateway is started, its config changes and changes back to one with a mistake, and it is stopped.
/// Guarantee: READY once messages are taken, a status of one line, WATCHDOG while it goes on, RELOADING with the time and READY
/// round each reload, STOPPING; a reload that is refused ends with an exit code of its own, which `ExecReload=` shows.
fn a_start_a_reload_and_a_stop_are_told() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let (manager, setup) = watched(&field, &cloud, "1500000")?;
    let gateway = setup.start()?;
    ensure!(
        manager.hear()? == "READY=1",
        "something else was said before it"
    );
    manager.hear_of("STATUS=ready; 0 messages owed")?;
    manager.hear_of("WATCHDOG=1")?;
    manager.hear_of("WATCHDOG=1")?;
    told(gateway.folder(), &["reload"], 0)?;
    let said = manager.hear_of("RELOADING=1")?;
    let time = said.split_once("\nMONOTONIC_USEC=");
    ensure!(
        time.is_some_and(|(_, time)| time.parse::<u64>().is_ok()),
        "{said}"
    );
    manager.hear_of("READY=1")?;
    let mistaken = Config::forwarding().between(&field.url(), &cloud.url());
    gateway.rewrite_config(mistaken.put("flow.all", "mistake = 1"))?;
    told(gateway.folder(), &["reload"], 3)?;
    manager.hear_of("RELOADING=1")?;
    manager.hear_of("READY=1")?;
    gateway.terminate()?;
    manager.hear_of("STOPPING=1")?;
    let (status, _) = gateway.end()?;
    ensure!(status.success(), "ended with {status}");
    Ok(())
}

/// The gateway is stopped, then killed, and started again each time, while devices go on asking at its ports of TCP and UDP.
/// Guarantee: nobody is turned away; who asks meanwhile is answered by the next gateway, and a datagram that came meanwhile is there. A
/// source that goes with a reload takes its port with it.
fn whoever_asks_while_it_is_started_again_waits_and_is_not_turned_away() -> Result<()> {
    let cloud = Broker::embedded()?;
    let watch = Watch::start(cloud.address(), UP)?;
    let (web, raw) = (port::free()?, port::free()?);
    let config = Config::forwarding().between(&format!("http://127.0.0.1:{web}"), &cloud.url());
    let raw_url = format!("udp://127.0.0.1:{raw}");
    let with_datagrams = config
        .clone()
        .source("raw", &raw_url)
        .set("source.raw.topic", "devices/raw/telemetry")
        .add(
            "flow.raw",
            "from = \"raw\"\ntopics = [\"devices/{device}/telemetry\"]\nto = { out = \"cloud:telemetry\" }\ntopic = \"up/{topic}\"",
        );
    let setup = Gateway::with(with_datagrams);
    let manager = ServiceManager::listen(setup.folder())?;
    let socket = setup.folder().join("notify").display().to_string();
    let mut gateway = setup.env("NOTIFY_SOCKET", &socket).start()?;
    let mut sent = 0;
    for is_killed in [false, true] {
        wait_until("both are kept", || {
            manager.attend().is_ok_and(|kept| kept == 2)
        })?;
        let setup = match is_killed {
            true => gateway.kill()?,
            false => gateway.stop()?.1,
        };
        let mut asking = TcpStream::connect((Ipv4Addr::LOCALHOST, web))?;
        asking.set_read_timeout(Some(PATIENCE))?;
        asking.write_all(post("/devices/d1/telemetry", "", "{}").as_bytes())?;
        let datagrams = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        datagrams.send_to(b"{}", (Ipv4Addr::LOCALHOST, raw))?;
        sent += 2;
        let passing = manager.passing()?;
        let words: Vec<&str> = passing.iter().map(String::as_str).collect();
        gateway = setup.under(&words).start()?;
        let (status, _, body) = answer(asking)?;
        ensure!(status == 202, "{status}: {body}");
        wait_until("both have arrived", || watch.total() == sent)?;
    }
    gateway.rewrite_config(config)?;
    told(gateway.folder(), &["reload"], 0)?;
    wait_until("one is forgotten", || {
        manager.attend().is_ok_and(|kept| kept == 1)
    })?;
    let kept = manager.kept.borrow();
    ensure!(
        kept.contains_key(&format!("tcp-127.0.0.1-{web}")),
        "{kept:?}"
    );
    Ok(())
}

/// One thread of the gateway is stopped from outside, all others go on.
struct StoppedThread(Child);

impl StoppedThread {
    /// Of this name.
    fn of(pid: u32, name: &str) -> Result<Self> {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))?;
        for task in tasks {
            let path = task?.path();
            if std::fs::read_to_string(path.join("comm"))?.trim() == name {
                let thread = path.file_name().unwrap_or_default().to_owned();
                let script = "import ctypes, sys\nlibc = ctypes.CDLL(None, use_errno=True)\nthread = int(sys.argv[1])\n\
                    assert libc.ptrace(16, thread, 0, 0) == 0, ctypes.get_errno()\nlibc.waitpid(thread, 0, 0x40000000)\n\
                    print('stopped', flush=True)\nsys.stdin.read()\nlibc.ptrace(17, thread, 0, 0)\n";
                let mut child = Command::new("python3")
                    .args(["-c", script])
                    .arg(thread)
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .spawn()?;
                let mut said = [0; 7];
                let out = child.stdout.as_mut().context("no output")?;
                std::io::Read::read_exact(out, &mut said)?;
                return Ok(Self(child));
            }
        }
        bail!("no thread is called {name}")
    }

    fn go_on(mut self) -> Result<()> {
        drop(self.0.stdin.take());
        ensure!(self.0.wait()?.success(), "the thread was not let go");
        Ok(())
    }
}

/// The thread that writes what is owed is stopped, and goes on again.
/// Guarantee: the watchdog is fed until it has stood for half a minute, then no more, the status says which loop stands, and
/// when it goes on the watchdog is fed again.
fn the_watchdog_starves_while_a_loop_stands() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let (manager, setup) = watched(&field, &cloud, "3000000")?;
    let gateway = setup.start()?;
    manager.hear_of("WATCHDOG=1")?;
    let stopped = StoppedThread::of(gateway.pid(), "writer")?;
    let said = manager.hear_of("STATUS=stands still")?;
    ensure!(said.contains("spool writer"), "{said}");
    // The line is told each time, since its seconds grow.
    for _ in 0..3 {
        let said = manager.hear()?;
        ensure!(said.starts_with("STATUS=stands still"), "{said}");
    }
    stopped.go_on()?;
    manager.hear_of("WATCHDOG=1")?;
    manager.hear_of("STATUS=ready")?;
    Ok(())
}
