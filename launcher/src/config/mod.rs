//! The inventory: finding cluster.toml, reading it strictly, and resolving it to a [`Cluster`].
//!
//! The way of a file: `walk` compares the parsed document with `schema` and collects every mistake; `layers` lays
//! defaults, file, variables and `-D` over each other; `resolve` expands ranges and takes the most specific value for
//! each host; `checks` compares values with each other. Only an inventory without any problem leaves this module.

mod checks;
mod diagnostic;
#[cfg(test)]
mod documented;
mod file;
mod layers;
mod leaf;
mod locate;
mod model;
mod ranges;
mod resolve;
mod schema;
mod select;
mod settings;
mod walk;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use self::diagnostic::Problem;
pub(crate) use self::diagnostic::{ConfigError, did_you_mean};
pub(crate) use self::layers::Origin;
pub(crate) use self::leaf::{HostKeys, Placement};
pub(crate) use self::model::{Cluster, Host, Ssh};
pub(crate) use self::settings::Setting;

use crate::error::{SourceText, UserError};
use crate::exit_code::ExitCode;

/// What an inventory is read from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    /// The file named by `-c` or FLINKCTL_CLUSTER_FILE.
    pub(crate) file: Option<PathBuf>,
    /// The `-D` options.
    pub(crate) defines: Vec<String>,
    /// The FLINKCTL_* variables.
    pub(crate) variables: BTreeMap<String, String>,
    /// The user's home.
    pub(crate) home: Option<PathBuf>,
}

impl Request {
    /// A request of this process: its variables, its user.
    pub(crate) fn from_process(file: Option<PathBuf>, defines: &[String]) -> Self {
        let variables = std::env::vars_os()
            .map(|(name, value)| {
                (
                    name.to_string_lossy().into_owned(),
                    value.to_string_lossy().into_owned(),
                )
            })
            .filter(|(name, _)| name.starts_with("FLINKCTL_"))
            .collect();
        let home = std::env::var_os("HOME")
            .map(PathBuf::from)
            .filter(|home| home.is_absolute());
        Self {
            file,
            defines: defines.to_vec(),
            variables,
            home,
        }
    }
}

/// An inventory without problems.
#[derive(Clone, Debug)]
pub(crate) struct Inventory {
    /// The file it was read from.
    pub(crate) path: PathBuf,
    /// The cluster it describes.
    pub(crate) cluster: Cluster,
    /// Every value with where it came from.
    pub(crate) settings: Vec<Setting>,
}

impl Inventory {
    /// Finds and reads the inventory.
    pub(crate) fn load(request: &Request) -> Result<Self, ConfigError> {
        let path = locate::locate(request)?;
        let text = std::fs::read_to_string(&path).map_err(|source| ConfigError::Read {
            path: path.clone(),
            source,
        })?;
        Self::parse(&path, text, request)
    }

    /// Reads an inventory that is in memory; `path` is its name in messages.
    pub(crate) fn parse(path: &Path, text: String, request: &Request) -> Result<Self, ConfigError> {
        let source_text = SourceText::new(path, text);
        let walked = walk::walk(&source_text.text);
        let mut layered = layers::Layered::new(
            &source_text.name,
            &source_text.text,
            walked,
            &request.variables,
            &request.defines,
        );
        let resolved = resolve::resolve(&mut layered);
        if let Some(resolved) = &resolved {
            checks::check(resolved, &mut layered);
        }
        let mut problems = layered.problems;
        problems.sort_by_key(Problem::order);
        match resolved {
            Some(resolved) if problems.is_empty() => Ok(Self {
                path: path.to_owned(),
                cluster: resolved.cluster,
                settings: resolved.settings,
            }),
            _ => Err(ConfigError::Invalid { source_text, problems }),
        }
    }

    /// Where the value of a key comes from, for messages such as `set identity_file in [ssh] (cluster.toml:6)`.
    pub(crate) fn origin(&self, host: Option<&str>, key: &str) -> Option<&Origin> {
        self.settings
            .iter()
            .find(|setting| setting.host.as_deref() == host && setting.key == key)
            .map(|setting| &setting.origin)
    }

    /// What is allowed but worth a word in every run.
    pub(crate) fn warnings(&self) -> Vec<UserError> {
        let mut warnings = Vec::new();
        if self.cluster.ssh.host_keys == HostKeys::Off {
            let place = match self.origin(None, "ssh.host_keys") {
                Some(Origin::Define) | None => "-D ssh.host_keys=off".to_owned(),
                Some(origin) => origin.to_string(),
            };
            let warning = UserError::warning(
                "ssh.host-keys-off",
                ExitCode::Ok,
                "host keys are not checked: anyone can pose as a host",
            );
            warnings.push(
                warning
                    .at(place)
                    .help("host_keys = \"accept-new\" records the key of a new host and refuses a changed one"),
            );
        }
        warnings
    }
}

#[cfg(test)]
mod tests;
