//! Names to addresses, as this host sees them.

use std::{net::IpAddr, time::Duration};

use tokio::{task::JoinSet, time::timeout};

/// The address of a name: the first one that the system gives.
///
/// # Errors
/// The system's words.
pub(crate) async fn one(name: &str) -> Result<IpAddr, String> {
    tokio::net::lookup_host((name, 0))
        .await
        .map_err(|error| error.to_string())?
        .next()
        .map(|address| address.ip())
        .ok_or_else(|| "no address".to_owned())
}

/// Longest that a name may take, so that one whose servers are silent does not hold up the others.
const LIMIT: Duration = Duration::from_secs(6);

/// The same for many, side by side as far as tokio's blocking threads go, none for longer than [`LIMIT`].
pub(super) async fn all(names: Vec<String>) -> Vec<Result<IpAddr, String>> {
    let mut found = vec![Err(String::new()); names.len()];
    let mut tasks = JoinSet::new();
    for (index, name) in names.into_iter().enumerate() {
        tasks.spawn(async move {
            let found = timeout(LIMIT, one(&name)).await;
            (
                index,
                found.unwrap_or_else(|_| Err(format!("no answer within {LIMIT:?}"))),
            )
        });
    }
    for (index, result) in tasks.join_all().await {
        if let Some(slot) = found.get_mut(index) {
            *slot = result;
        }
    }
    found
}
