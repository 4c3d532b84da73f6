//! Where the inventory is.

use std::path::PathBuf;

use super::Request;
use super::diagnostic::ConfigError;

/// The file to read: the one named, else the first that exists of `./cluster.toml` and `~/.config/flinkctl/cluster.toml`.
pub(super) fn locate(request: &Request) -> Result<PathBuf, ConfigError> {
    if let Some(named) = &request.file {
        return Ok(named.clone());
    }
    let mut candidates = vec![PathBuf::from("cluster.toml")];
    candidates.extend(
        request
            .home
            .as_ref()
            .map(|home| home.join(".config/flinkctl/cluster.toml")),
    );
    match candidates.iter().find(|candidate| candidate.exists()) {
        Some(found) => Ok(found.clone()),
        None => Err(ConfigError::NotFound { looked: candidates }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_file_wins_even_if_it_does_not_exist() {
        let request = Request {
            file: Some(PathBuf::from("/nowhere/x.toml")),
            ..Request::default()
        };
        assert_eq!(locate(&request).ok(), Some(PathBuf::from("/nowhere/x.toml")));
    }
}
