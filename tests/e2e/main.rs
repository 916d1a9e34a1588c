//! The end-to-end cases: the real binary between brokers.

use std::num::NonZeroUsize;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use tidegate_tests::guests as guest;

mod access;
mod api;
mod author;
mod backup;
mod brokers;
mod candidates;
mod cli;
mod clock;
mod coap_in;
mod commands;
mod compat;
mod compile;
mod conditions;
mod config;
mod connect;
mod crash;
mod demo;
mod devices;
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
mod looking;
mod live;
mod kafka;
mod modbus;
mod monitoring;
mod nats_in;
mod nats_out;
mod objects;
mod outage;
mod parts;
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
mod service;
mod sharing;
mod shutdown;
mod signature;
mod simulated;
mod slow;
mod state;
mod swap;
mod tasks;
mod thin;
mod ticks;
mod tidy;
mod tls;
mod tokens;
mod told;
mod tools;
mod traces;
mod unwatched;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Most of its time a case waits for a link, a deadline or a disk: one more than there are processors.
    let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    arguments.test_threads.get_or_insert(processors + 1);
    libtest_mimic::run(&arguments, cases()).exit_code()
}

fn cases() -> Vec<Trial> {
    let cases = [
        tidy::cases(),
        backup::cases(),
        parts::cases(),
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
        access::cases(),
        api::cases(),
        hostile::cases(),
        coap_in::cases(),
        http_in::cases(),
        http_out::cases(),
        signature::cases(),
        simulated::cases(),
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
        tokens::cases(),
        told::cases(),
        outage::cases(),
        kafka::cases(),
        objects::cases(),
        postgres::cases(),
        nats_in::cases(),
        nats_out::cases(),
        policy::cases(),
        links::cases(),
        looking::cases(),
        refusals::cases(),
        conditions::cases(),
        health::cases(),
        monitoring::cases(),
        page::cases(),
        said::cases(),
        commands::cases(),
        presence::cases(),
        devices::cases(),
        fallback::cases(),
        thin::cases(),
        ticks::cases(),
        service::cases(),
        sharing::cases(),
        shutdown::cases(),
        crash::cases(),
        power::cases(),
        disk::cases(),
        slow::cases(),
        clock::cases(),
        brokers::cases(),
        demo::cases(),
        tools::cases(),
        traces::cases(),
    ];
    cases.into_iter().flatten().collect()
}
