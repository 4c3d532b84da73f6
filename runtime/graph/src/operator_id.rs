//! Ids of operators: the same in every process that builds the same graph, and as stable as can be between versions
//! of a job.
//!
//! An operator with a uid is known by it alone. Any other is known by its path: the ids of its inputs and its number
//! among the operators with the same inputs. As in Flink's `StreamGraphHasherV2` the name does not count; unlike
//! there, neither do chaining (turning it off loses no state) nor operators elsewhere in the graph.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::{OperatorId, StreamGraph};

/// Separates ids made from uids from those made from paths, and both from other uses of SHA-256.
const UID_DOMAIN: &[u8] = b"flinkctl operator uid\0";
const PATH_DOMAIN: &[u8] = b"flinkctl operator path\0";

/// The id of each node of a valid graph.
pub(crate) fn operator_ids(graph: &StreamGraph) -> Vec<OperatorId> {
    let mut ids: Vec<OperatorId> = Vec::with_capacity(graph.nodes.len());
    let mut siblings: BTreeMap<Vec<(u32, OperatorId)>, u32> = BTreeMap::new();
    for (index, node) in (0..).zip(&graph.nodes) {
        let inputs: Vec<(u32, OperatorId)> = graph
            .in_edges(index)
            .map(|edge| (edge.input, ids[edge.source as usize]))
            .collect();
        let ordinal = siblings.entry(inputs.clone()).or_default();
        let id = match &node.uid {
            Some(uid) => digest(UID_DOMAIN, [uid.as_bytes()]),
            None => from_path(&inputs, *ordinal),
        };
        *ordinal += 1;
        ids.push(id);
    }
    ids
}

fn from_path(inputs: &[(u32, OperatorId)], ordinal: u32) -> OperatorId {
    let inputs = inputs
        .iter()
        .flat_map(|(input, id)| [input.to_le_bytes().to_vec(), id.as_bytes().to_vec()]);
    digest(PATH_DOMAIN, inputs.chain([ordinal.to_le_bytes().to_vec()]))
}

/// The first half of the SHA-256 of a domain and what follows it.
fn digest(domain: &[u8], parts: impl IntoIterator<Item = impl AsRef<[u8]>>) -> OperatorId {
    let mut hash = Sha256::new_with_prefix(domain);
    parts.into_iter().for_each(|part| hash.update(part));
    let digest: [u8; 32] = hash.finalize().into();
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    OperatorId::from_bytes(id)
}
