//! `job run` with the directory of a Cargo package, which is built first.

use std::fs;
use std::path::Path;
use std::time::Duration;

use flink_tests::{Bed, Command, PATIENCE, Traces, in_testbed, on_hosts, read_counts};

const MANIFEST: &str = r#"
[workspace]
[package]
name = "counted"
version = "0.1.0"
edition = "2024"
[dependencies]
flink = { path = "RUNTIME/flink" }
clap = { version = "4", features = ["derive"] }
serde = { version = "1", features = ["derive"] }
[profile.release]
strip = "debuginfo"
"#;

#[test]
fn a_package_is_built_and_runs_on_hosts() {
    // The compiler takes the whole machine.
    in_testbed(&on_hosts(3).alone(), |bed| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let runtime = root.join("runtime").canonicalize().expect("the sources");
        let package = bed.shared().join("counted");
        fs::create_dir_all(package.join("src/bin")).expect("a directory");
        let manifest = MANIFEST.replace("RUNTIME", &runtime.display().to_string());
        fs::write(package.join("Cargo.toml"), manifest).expect("a manifest");
        fs::copy(root.join("Cargo.lock"), package.join("Cargo.lock")).expect("a lock file");
        let source = runtime.join("flink/examples/wordcount.rs");
        fs::copy(&source, package.join("src/main.rs")).expect("a program");

        let run = run(bed, &package).fine().reports(&["Finished `release` profile"]);
        assert_eq!(read_counts(&run.stdout).len(), 47);

        fs::copy(&source, package.join("src/bin/second.rs")).expect("a program");
        let _refused = self::run(bed, &package).exits(2).reports(&[
            "error[job.build]: the package builds 2 binaries, and only one can be the job program",
            "help: name the one to run by its file",
        ]);
        bed.nothing_left(PATIENCE, Traces::None);
    });
}

fn run(bed: &Bed, package: &Path) -> flink_tests::Output {
    // Where our own programs were built: there is nothing to download, and most is compiled already.
    let wordcount = bed.wordcount();
    let target = Path::new(&wordcount).ancestors().nth(3).expect("a target directory");
    let command: Command = bed.command(["job", "run", "-p", "6", &package.display().to_string()]);
    command
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_NET_OFFLINE", "true")
        // As .cargo/config.toml has it; otherwise a large C library would be compiled anew.
        .env("AWS_LC_SYS_NO_JITTER_ENTROPY", "1")
        .limit(Duration::from_secs(100))
        .run()
}
