//! The figures as tables.

use super::*;

pub(super) fn print_tables(options: Options, figures: &Figures) {
    let Options {
        rate,
        devices,
        fresh,
        swaps,
        ..
    } = options;
    println!(
        "\n{rate} messages/s of {devices} devices at QoS 1 through a stateful plugin of 200 kB\n"
    );
    println!(
        "{:<44} {:>10} {:>10}",
        "from a saved file on, ms", "median", "most"
    );
    let row = |what: &str, until: Until| {
        println!(
            "{what:<44} {:>10.0} {:>10.0}",
            until.median_ms, until.most_ms
        )
    };
    row(&format!("{fresh} new components: seen"), figures.fresh.seen);
    row("  compiled", figures.fresh.compiled);
    row("  its outputs count", figures.fresh.running);
    row(
        &format!("{swaps} that were compiled before: seen"),
        figures.cached.seen,
    );
    row("  its outputs count", figures.cached.running);
    print_latencies(figures);
    print_costs(options, figures);
    println!("lost {}, doubled {}", figures.lost, figures.doubled);
}

fn print_latencies(figures: &Figures) {
    println!(
        "\n{:<36} {:>9} {:>8} {:>8} {:>8} {:>8}",
        "ms", "number", "p50", "p99", "p99.9", "most"
    );
    let row = |what: &str, latency: Latency| {
        let Latency {
            messages,
            p50_ms,
            p99_ms,
            p999_ms,
            max_ms,
        } = latency;
        println!(
            "{what:<36} {messages:>9} {p50_ms:>8.2} {p99_ms:>8.2} {p999_ms:>8.2} {max_ms:>8.2}"
        );
    };
    row("pause, each swap's longest lane", figures.pauses);
    row("latency, no change", figures.quiet.latency);
    row("latency, swapped out of the cache", figures.swapping);
    row("latency, while one is compiled", figures.compiling);
    row("latency, beside a shadow", figures.shadow.latency);
}

fn print_costs(options: Options, figures: &Figures) {
    let (quiet, shadow, seconds) = (figures.quiet.cpu_us, figures.shadow.cpu_us, options.seconds);
    println!(
        "\nCPU per message over {seconds} s: {quiet:.1} us, beside a shadow {shadow:.1} us, {:.2} times",
        shadow / quiet
    );
    let Memory {
        before_mb,
        compiling_mb,
        compiler_mb,
        at_rest_mb,
        version_mb,
        component_kb,
        code_kb,
    } = figures.memory;
    println!(
        "RSS under load {before_mb:.1} MB, while one is compiled {compiling_mb:.1} MB, the compiler {compiler_mb:.0} MB"
    );
    println!(
        "RSS at rest after all changes {at_rest_mb:.1} MB, with another version ready {version_mb:+.2} MB"
    );
    println!(
        "on disk of each version: component {component_kb:.0} kB, its code in the cache {code_kb:.0} kB"
    );
}
