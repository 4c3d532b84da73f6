//! Key groups: the units in which keyed state is spread over subtasks, and moved when a job is rescaled.
//!
//! A key's group never changes; which subtask has the group follows from the parallelism. Formulas of Flink 1.20,
//! `flink-runtime/.../runtime/state/KeyGroupRangeAssignment.java` and `flink-core/.../flink/util/MathUtils.java`.

use std::ops::Range;

/// The largest max parallelism, and with it the largest parallelism (Flink's `UPPER_BOUND_MAX_PARALLELISM`).
pub const MAX_PARALLELISM_LIMIT: u32 = 1 << 15;

/// Max parallelism is at least this by default, so that small jobs can grow.
const DEFAULT_MAX_PARALLELISM_FLOOR: u32 = 1 << 7;

/// The group of a key with this hash: `0 <= group < max_parallelism`.
///
/// # Panics
/// When `max_parallelism` is 0.
#[inline]
pub fn key_group(hash: u32, max_parallelism: u32) -> u32 {
    murmur(hash) % max_parallelism
}

/// The subtask that has a key group: `key_group * parallelism / max_parallelism`.
///
/// # Panics
/// When `max_parallelism` is 0.
#[inline]
pub fn operator_index(key_group: u32, max_parallelism: u32, parallelism: u32) -> u32 {
    // Both factors are at most 2^15, and key_group is below the divisor: neither overflow nor truncation.
    (u64::from(key_group) * u64::from(parallelism) / u64::from(max_parallelism)) as u32
}

/// The key groups that a subtask has: those for which [`operator_index`] is `subtask`. Never empty while
/// `parallelism <= max_parallelism`.
///
/// # Panics
/// When `parallelism` is 0.
pub fn key_group_range(max_parallelism: u32, parallelism: u32, subtask: u32) -> Range<u32> {
    let start = |index: u32| (u64::from(index) * u64::from(max_parallelism)).div_ceil(u64::from(parallelism)) as u32;
    start(subtask)..start(subtask + 1)
}

/// The max parallelism of an operator that sets none: half as many key groups again as subtasks, as a power of two
/// between 128 and [`MAX_PARALLELISM_LIMIT`].
pub fn default_max_parallelism(parallelism: u32) -> u32 {
    let parallelism = parallelism.min(MAX_PARALLELISM_LIMIT);
    (parallelism + parallelism / 2)
        .next_power_of_two()
        .clamp(DEFAULT_MAX_PARALLELISM_FLOOR, MAX_PARALLELISM_LIMIT)
}

/// Murmur3 of one 32-bit block, made non-negative as a Java `int`.
#[inline]
fn murmur(code: u32) -> u32 {
    let mut code = code.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    code = code.rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    // The length of the block in bytes, then Murmur's finalizer.
    code ^= 4;
    code ^= code >> 16;
    code = code.wrapping_mul(0x85eb_ca6b);
    code ^= code >> 13;
    code = code.wrapping_mul(0xc2b2_ae35);
    code ^= code >> 16;
    let magnitude = code.cast_signed().unsigned_abs();
    // Java's -MIN_VALUE is MIN_VALUE itself; Flink maps it to 0.
    if magnitude == 1 << 31 { 0 } else { magnitude }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Flink's `MathUtils.murmurHash` on `int`s, written down as it is there.
    fn reference(code: i32) -> i32 {
        let mut code = code.wrapping_mul(0xcc9e_2d51_u32 as i32);
        code = code.rotate_left(15);
        code = code.wrapping_mul(0x1b87_3593);
        code = code.rotate_left(13);
        code = code.wrapping_mul(5).wrapping_add(0xe654_6b64_u32 as i32);
        code ^= 4;
        code ^= ((code as u32) >> 16) as i32;
        code = code.wrapping_mul(0x85eb_ca6b_u32 as i32);
        code ^= ((code as u32) >> 13) as i32;
        code = code.wrapping_mul(0xc2b2_ae35_u32 as i32);
        code ^= ((code as u32) >> 16) as i32;
        match code {
            0.. => code,
            i32::MIN => 0,
            _ => -code,
        }
    }

    #[test]
    fn key_groups_are_flinks() {
        // Made by Flink's Java code on OpenJDK 17: (hash, murmur, group of 128, group of 32768, subtask of 3 of 128).
        // "flink".hashCode() and Long.hashCode(1234567890123L) are among them; 2205091669 mixes to Integer.MIN_VALUE.
        let cases = [
            (0, 593_689_054, 94, 31_198, 2),
            (1, 68_075_478, 86, 16_342, 2),
            (2, 1_085_422_463, 127, 15_231, 2),
            (42, 1_134_849_565, 29, 28_189, 0),
            (3_707, 260_703_195, 91, 987, 2),
            (97_520_992, 1_330_823_394, 98, 16_610, 2),
            (1_912_276_436, 1_151_597_916, 92, 32_092, 2),
            (2_147_483_647, 1_653_689_534, 62, 19_646, 1),
            (2_147_483_648, 1_718_298_732, 108, 10_348, 2),
            (4_294_967_295, 1_982_413_648, 80, 15_184, 1),
            (2_205_091_669, 0, 0, 0, 0),
        ];
        for (hash, mixed, of_128, of_32768, subtask) in cases {
            assert_eq!(murmur(hash), mixed, "{hash}");
            assert_eq!(
                (key_group(hash, 128), key_group(hash, MAX_PARALLELISM_LIMIT)),
                (of_128, of_32768),
                "{hash}"
            );
            assert_eq!(operator_index(of_128, 128, 3), subtask, "{hash}");
        }
    }

    #[test]
    fn ranges_and_defaults_are_flinks() {
        let ranges = |max_parallelism, parallelism| -> Vec<Range<u32>> {
            (0..parallelism)
                .map(|subtask| key_group_range(max_parallelism, parallelism, subtask))
                .collect()
        };
        assert_eq!(ranges(128, 3), [0..43, 43..86, 86..128]);
        assert_eq!(ranges(10, 3), [0..4, 4..7, 7..10]);
        assert_eq!(ranges(10, 4), [0..3, 3..5, 5..8, 8..10]);
        let defaults = [
            (1, 128),
            (85, 128),
            (86, 256),
            (128, 256),
            (1000, 2048),
            (10_922, 16_384),
            (21_846, 32_768),
            (32_768, 32_768),
        ];
        for (parallelism, expected) in defaults {
            assert_eq!(default_max_parallelism(parallelism), expected, "{parallelism}");
        }
    }

    proptest! {
        #[test]
        fn murmur_is_flinks(hash: u32) {
            prop_assert_eq!(murmur(hash), reference(hash as i32) as u32);
        }

        #[test]
        fn a_group_is_in_the_range_of_its_subtask(
            (max_parallelism, parallelism) in (1..=MAX_PARALLELISM_LIMIT).prop_flat_map(|max| (Just(max), 1..=max)),
            hash: u32,
        ) {
            let group = key_group(hash, max_parallelism);
            let subtask = operator_index(group, max_parallelism, parallelism);
            prop_assert!(subtask < parallelism);
            prop_assert!(key_group_range(max_parallelism, parallelism, subtask).contains(&group));
        }
    }
}
