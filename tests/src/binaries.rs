//! Where the programs under test are: `target/release`, or the directory that `FLINKCTL_BIN_DIR` names.

use std::path::{Path, PathBuf};

/// The directory with `flinkctl` and `examples/`.
pub(crate) fn directory() -> PathBuf {
    if let Some(directory) = std::env::var_os("FLINKCTL_BIN_DIR") {
        return directory.into();
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from);
    target.join("release")
}

/// The root of the checkout.
pub(crate) fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

/// The path of a program below [`directory`].
///
/// # Panics
/// When it was not built.
pub(crate) fn path(name: &str) -> PathBuf {
    let path = directory().join(name);
    assert!(
        path.is_file(),
        "{} is not there. Build it first:\n  cargo build --release -p flinkctl -p flink -p flink-tests --bins --examples",
        path.display()
    );
    path
}
