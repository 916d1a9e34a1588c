//! The end-to-end cases: the real binary between brokers.

use std::process::ExitCode;

use libtest_mimic::Arguments;

mod tidy;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let cases = [tidy::cases()].into_iter().flatten().collect();
    libtest_mimic::run(&arguments, cases).exit_code()
}
