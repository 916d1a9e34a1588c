//! The end-to-end cases: the real binary between brokers.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use tidegate_tests::guests as guest;

mod api;
mod author;
mod brokers;
mod candidates;
mod cli;
mod clock;
mod commands;
mod compat;
mod compile;
mod conditions;
mod config;
mod connect;
mod crash;
mod demo;
mod disk;
mod doctor;
mod fallback;
mod field;
mod files;
mod flow;
mod host;
mod http_out;
mod health;
mod hostile;
mod http_in;
mod influx;
mod init;
mod instruments;
mod links;
mod live;
mod modbus;
mod monitoring;
mod outage;
mod page;
mod policy;
mod postgres;
mod power;
mod presence;
mod protocol;
mod refusals;
mod raw;
mod reload;
mod replay;
mod said;
mod scene;
mod shutdown;
mod signature;
mod slow;
mod state;
mod swap;
mod tasks;
mod thin;
mod tidy;
mod tls;
mod told;
mod tools;
mod unwatched;

fn main() -> ExitCode {
    libtest_mimic::run(&Arguments::from_args(), cases()).exit_code()
}

fn cases() -> Vec<Trial> {
    let cases = [
        tidy::cases(),
        influx::cases(),
        instruments::cases(),
        cli::cases(),
        config::cases(),
        connect::cases(),
        doctor::cases(),
        init::cases(),
        flow::cases(),
        field::cases(),
        files::cases(),
        protocol::cases(),
        tls::cases(),
        host::cases(),
        api::cases(),
        hostile::cases(),
        http_in::cases(),
        http_out::cases(),
        signature::cases(),
        swap::cases(),
        tasks::cases(),
        candidates::cases(),
        replay::cases(),
        author::cases(),
        compile::cases(),
        compat::cases(),
        live::cases(),
        modbus::cases(),
        raw::cases(),
        reload::cases(),
        unwatched::cases(),
        state::cases(),
        told::cases(),
        outage::cases(),
        postgres::cases(),
        policy::cases(),
        links::cases(),
        refusals::cases(),
        conditions::cases(),
        health::cases(),
        monitoring::cases(),
        page::cases(),
        said::cases(),
        commands::cases(),
        presence::cases(),
        fallback::cases(),
        thin::cases(),
        shutdown::cases(),
        crash::cases(),
        power::cases(),
        disk::cases(),
        slow::cases(),
        clock::cases(),
        brokers::cases(),
        demo::cases(),
        tools::cases(),
    ];
    cases.into_iter().flatten().collect()
}
