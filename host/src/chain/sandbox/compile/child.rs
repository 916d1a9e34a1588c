//! Compiling in a process of its own: both ends of its pipes.
//!
//! In goes the component, to the end of the file. Out comes the code: its length (u64, little endian), its SHA-256, the
//! code. A component that does not compile ends the child with a failure, the reason on its standard error.

use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use ring::digest::{SHA256, digest};
use rustix::process::{Resource, Rlimit, Signal, nice, set_parent_process_death_signal, setrlimit};

use super::code::{MAX_CODE_BYTES, NativeCode, precompile, settings};
use crate::chain::Unusable;
use crate::chain::answer::{NoAnswer, wait_for_answer};
use crate::file::COMPONENT as MAX_COMPONENT_BYTES;

/// Bytes of the child's last words that are read.
const MAX_WORDS_BYTES: u64 = 16 << 10;

const HEAD_BYTES: usize = 8 + 32;

/// Compiling waits for traffic, not the other way round.
const NICENESS: i32 = 10;

/// What compiling one component may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// Address space of the compiler's process, bytes.
    pub memory_bytes: u64,
    pub time: Duration,
}

/// Compiles `component` in a child that runs `program`, until `unwanted` is raised.
pub(crate) fn compile(
    program: &Path,
    limits: CompileLimits,
    stack_bytes: usize,
    component: &[u8],
    unwanted: &AtomicBool,
) -> Result<NativeCode, Unusable> {
    let mut child = start(program, limits, stack_bytes).map_err(|error| {
        Unusable::Compiler(format!("cannot start `{}`: {error}", program.display()))
    })?;
    let (answer, words) = converse(&mut child, limits.time, component, unwanted);
    let status = child
        .wait()
        .map_err(|error| Unusable::Compiler(error.to_string()))?;
    match answer {
        Err(NoAnswer::Late) => Err(Unusable::Costly(format!(
            "it takes longer than {:?}",
            limits.time
        ))),
        Err(NoAnswer::Unwanted) => Err(Unusable::Unwanted),
        _ if !status.success() => Err(failed(status, limits, &words)),
        answer => {
            let cut_short = || {
                Unusable::Compiler(format!(
                    "it ended in the middle of its answer ({status}){}",
                    after(&words)
                ))
            };
            answer.ok().and_then(unframe).ok_or_else(cut_short)
        }
    }
}

fn start(program: &Path, limits: CompileLimits, stack_bytes: usize) -> io::Result<Child> {
    Command::new(program)
        .arg0("tidegate")
        .arg("compile-plugin")
        .args([
            stack_bytes.to_string(),
            limits.memory_bytes.to_string(),
            limits.time.as_secs().to_string(),
        ])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// Hands the component over and takes what comes back, the answer and the last words, for `time` at most; then the child
/// is killed.
fn converse(
    child: &mut Child,
    time: Duration,
    component: &[u8],
    unwanted: &AtomicBool,
) -> (Result<Vec<u8>, NoAnswer>, String) {
    let stdin = child.stdin.take();
    let stdout = child.stdout.take();
    let stderr = child.stderr.take();
    let (done, answers) = sync_channel(1);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A child that ends early has said why.
            let _ = stdin.map(|mut stdin| stdin.write_all(component));
        });
        let words = scope.spawn(move || {
            let text = stderr
                .map(|stderr| read(stderr, MAX_WORDS_BYTES))
                .unwrap_or_default();
            String::from_utf8_lossy(&text).trim().to_owned()
        });
        scope.spawn(move || {
            let answer = stdout
                .map(|stdout| read(stdout, MAX_CODE_BYTES))
                .unwrap_or_default();
            // What comes too late is not waited for.
            let _ = done.send(answer);
        });
        let answer = wait_for_answer(&answers, Instant::now() + time, || {
            !unwanted.load(Ordering::Acquire)
        });
        if answer.is_err() {
            // One that has ended meanwhile is as good.
            let _ = child.kill();
        }
        (answer, words.join().unwrap_or_default())
    })
}

/// What comes before the end, or before the pipe breaks; more than `most` is not taken.
fn read(pipe: impl Read, most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = pipe.take(most).read_to_end(&mut bytes);
    bytes
}

/// Why a child failed: at its limits, or by what it says.
fn failed(status: ExitStatus, limits: CompileLimits, words: &str) -> Unusable {
    let signal = |signal: Signal| status.signal() == Some(signal.as_raw());
    // The allocator's last words, and the kernel's last resort; `oom_score_adj` makes the child its first choice.
    if words.contains("memory allocation of") || signal(Signal::KILL) {
        return Unusable::Costly(format!(
            "it takes more than {} MiB of memory",
            limits.memory_bytes >> 20
        ));
    }
    if signal(Signal::XCPU) {
        return Unusable::Costly(format!("it takes longer than {:?}", limits.time));
    }
    if signal(Signal::SYS) {
        return Unusable::Compiler(format!(
            "a system-call filter ended it ({status}): allow what `tidegate` itself may do"
        ));
    }
    // The compiler ends with a word about a component, whatever that is.
    if status.signal().is_some() || words.is_empty() {
        let hint = "it is this program, run once more: check that it may be executed, and what limits processes here";
        return Unusable::Compiler(format!("it ended with {status}{}; {hint}", after(words)));
    }
    Unusable::Compile(words.to_owned())
}

/// The last words, if there were any.
fn after(words: &str) -> String {
    if words.is_empty() {
        " and without a word".to_owned()
    } else {
        format!(", saying: {words}")
    }
}

fn unframe(mut answer: Vec<u8>) -> Option<NativeCode> {
    let (head, code) = answer.split_at_checked(HEAD_BYTES)?;
    let (length, sum) = head.split_first_chunk::<8>()?;
    let is_whole =
        u64::from_le_bytes(*length) == code.len() as u64 && digest(&SHA256, code).as_ref() == sum;
    is_whole.then(|| NativeCode(answer.split_off(HEAD_BYTES)))
}

/// The child's side: limits itself, compiles what comes on standard input, answers on standard output. On one thread,
/// since each more takes memory of its own.
///
/// # Errors
/// Why it does not compile, in words.
pub fn compile_plugin(stack_bytes: usize, limits: CompileLimits) -> Result<(), String> {
    limit(limits).map_err(|error| format!("cannot limit the compiler: {error}"))?;
    let mut component = Vec::new();
    let input = std::io::stdin()
        .lock()
        .take(MAX_COMPONENT_BYTES + 1)
        .read_to_end(&mut component);
    input.map_err(|error| format!("cannot read the component: {error}"))?;
    if component.len() as u64 > MAX_COMPONENT_BYTES {
        return Err(format!("it has more than {MAX_COMPONENT_BYTES} bytes"));
    }
    let wasm =
        wasmtime::Engine::new(&settings(stack_bytes)).map_err(|error| format!("{error:#}"))?;
    let NativeCode(code) = precompile(&wasm, &component)?;
    let mut out = std::io::stdout().lock();
    let parts = [
        (code.len() as u64).to_le_bytes().as_slice(),
        digest(&SHA256, &code).as_ref(),
        &code,
    ]
    .concat();
    out.write_all(&parts)
        .and_then(|()| out.flush())
        .map_err(|error| format!("nobody takes the code: {error}"))
}

/// The limits are the child's own work: to set them between fork and exec would take unsafe code.
fn limit(limits: CompileLimits) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let both = |limit| Rlimit {
        current: Some(limit),
        maximum: Some(limit),
    };
    setrlimit(Resource::As, both(limits.memory_bytes))?;
    setrlimit(Resource::Core, both(0))?;
    // For the case that nobody watches the clock any more. The first limit ends it by a signal of its own.
    let seconds = limits.time.as_secs() + 1;
    setrlimit(
        Resource::Cpu,
        Rlimit {
            current: Some(seconds),
            maximum: Some(seconds + 1),
        },
    )?;
    nice(NICENESS)?;
    // Where the machine runs out of memory before the limit is reached, the child goes and not the gateway.
    std::fs::write("/proc/self/oom_score_adj", "1000")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: CompileLimits = CompileLimits {
        memory_bytes: 1 << 30,
        time: Duration::from_secs(60),
    };

    fn refused(program: &str) -> Unusable {
        compile(
            Path::new(program),
            LIMITS,
            1 << 20,
            &[7; 200_000],
            &AtomicBool::new(false),
        )
        .map(|_| ())
        .unwrap_err()
    }

    #[test]
    fn a_program_that_is_no_compiler_is_an_error_and_never_code() {
        assert!(
            matches!(refused("/nowhere/tidegate"), Unusable::Compiler(why) if why.contains("/nowhere/tidegate"))
        );
        assert!(
            matches!(refused("/bin/true"), Unusable::Compiler(why) if why.contains("middle of its answer"))
        );
        assert!(
            matches!(refused("/bin/false"), Unusable::Compiler(why) if why.contains("exit status: 1 and without a word"))
        );
        assert!(
            matches!(refused("/bin/cat"), Unusable::Compile(why) if why.contains("compile-plugin"))
        );
    }

    #[test]
    fn a_child_that_ends_without_a_word_is_told_by_its_status_or_signal() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let script = |text: &str, mode: u32| {
            let path = folder.path().join("compiler");
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let Unusable::Compiler(why) = refused(path.to_str().unwrap()) else {
                panic!("{text}")
            };
            why
        };
        assert!(script("#!/bin/sh\nkill -SYS $$", 0o700).contains("system-call filter"));
        let why = script("#!/bin/sh\nulimit -c 0; kill -SEGV $$", 0o700);
        assert!(
            why.contains("SIGSEGV") && why.contains("without a word"),
            "{why}"
        );
        assert!(script("#!/bin/sh\nexit 126", 0o700).contains("exit status: 126"));
        assert!(script("", 0o600).contains("Permission denied"));
        assert!(script("\x7fELF of another machine", 0o700).contains("Exec format error"));
    }

    #[test]
    fn only_a_whole_answer_is_code() {
        let code = b"code".as_slice();
        let sum = digest(&SHA256, code);
        let answer = [4_u64.to_le_bytes().as_slice(), sum.as_ref(), code].concat();
        assert_eq!(unframe(answer.clone()).unwrap().0, code);
        assert!(
            unframe(answer[..43].to_vec()).is_none() && unframe(answer[..20].to_vec()).is_none()
        );
        for bit in 0..answer.len() * 8 {
            let mut flipped = answer.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(unframe(flipped).is_none(), "bit {bit}");
        }
    }
}
