//! Records of the standard library's types.

mod common;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    hash::{BuildHasherDefault, DefaultHasher},
    marker::PhantomData,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    num::NonZero,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use common::{check, decode, encode};
use flink_record::{DecodeError, Key, Record};
use proptest::prelude::*;

type Fixed = BuildHasherDefault<DefaultHasher>;

const BEFORE: Duration = Duration::new(1, 250_000_000);

#[test]
fn golden_bytes() {
    assert_eq!(encode(&1usize), [1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(encode(&-1isize), [255; 8]);
    assert_eq!(encode(&NonZero::new(5u16).unwrap()), [5, 0]);
    assert_eq!(encode(&PhantomData::<u8>), [0]);
    assert_eq!(encode(&Ok::<u8, u8>(7)), [0, 7]);
    assert_eq!(encode(&Err::<u8, u8>(7)), [1, 7]);
    assert_eq!(encode(&Duration::new(1, 2)), [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0]);
    let time = UNIX_EPOCH - BEFORE;
    let secs = -2i64;
    assert_eq!(
        encode(&time),
        [&secs.to_le_bytes()[..], &750_000_000u32.to_le_bytes()].concat()
    );
    assert_eq!(encode(&IpAddr::V4(Ipv4Addr::LOCALHOST)), [4, 127, 0, 0, 1]);
    assert_eq!(encode(&SocketAddr::from(([1, 2, 3, 4], 0x0506))), [4, 1, 2, 3, 4, 6, 5]);
    assert_eq!(
        encode(&BTreeMap::from([(2u8, 'b'), (1, 'a')])),
        [2, 0, 0, 0, 1, 97, 0, 0, 0, 2, 98, 0, 0, 0]
    );
    assert_eq!(encode(&BTreeSet::from([2u8, 1])), [2, 0, 0, 0, 1, 2]);
    assert_eq!(encode(&VecDeque::from([1u8, 2])), [2, 0, 0, 0, 1, 2]);
    assert_eq!(encode(&Arc::new(3u8)), [3]);
    assert_eq!(encode(&Cow::Borrowed("c")), [1, 0, 0, 0, b'c']);
}

#[test]
fn all_survive() {
    check(&(usize::MAX, isize::MIN, NonZero::<i64>::MIN));
    check(&(
        UNIX_EPOCH - BEFORE,
        UNIX_EPOCH + BEFORE,
        UNIX_EPOCH,
        UNIX_EPOCH - Duration::from_secs(3),
    ));
    check(&(Duration::MAX, Duration::ZERO));
    check(&[IpAddr::V4(Ipv4Addr::BROADCAST), IpAddr::V6(Ipv6Addr::LOCALHOST)]);
    check(&SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 1, 2, 3)));
    check(&HashMap::<_, _, Fixed>::from_iter([
        (1u8, "a".to_owned()),
        (2, String::new()),
    ]));
    check(&HashSet::from(["a".to_owned(), "b".to_owned()]));
    check(&HashSet::from([()]));
    check(&(
        Box::<[u16]>::from([1, 2]),
        Arc::<[u8]>::from([3]),
        Arc::new("x".to_owned()),
    ));
    check(&Cow::<'static, str>::Owned("o".to_owned()));
    check(&[Ok::<u8, String>(1), Err("e".to_owned())]);
    let mut ring = VecDeque::from([1u32, 2, 3]);
    ring.rotate_left(1);
    ring.push_front(9);
    check(&ring);
}

#[test]
fn byte_patterns_without_a_value_are_refused() {
    assert_eq!(
        decode::<NonZero<u8>>(&[0]),
        Err(DecodeError::Invalid("number: it must not be zero"))
    );
    let nanos = encode(&(0u64, 1_000_000_000u32));
    assert_eq!(decode::<Duration>(&nanos), Err(DecodeError::Invalid("Duration")));
    assert_eq!(decode::<SystemTime>(&nanos), Err(DecodeError::Invalid("SystemTime")));
    assert_eq!(decode::<IpAddr>(&[5, 0, 0, 0, 0]), Err(DecodeError::Invalid("IpAddr")));
    assert_eq!(decode::<Result<u8, u8>>(&[2, 0]), Err(DecodeError::Invalid("result")));
    let twice = [2, 0, 0, 0, 7, 7];
    let expected = DecodeError::Invalid("map or set: a key occurs twice");
    assert_eq!(decode::<BTreeSet<u8>>(&twice), Err(expected));
    assert_eq!(decode::<HashSet<u8>>(&twice), Err(expected));
    let twice = [2, 0, 0, 0, 7, 1, 7, 2];
    assert_eq!(decode::<BTreeMap<u8, u8>>(&twice), Err(expected));
    assert_eq!(decode::<HashMap<u8, u8>>(&twice), Err(expected));
}

/// Whatever the range of the machine's clock is.
#[test]
fn the_extremes_of_time_do_not_panic() {
    for secs in [i64::MIN, i64::MIN + 1, -1, 0, i64::MAX] {
        for nanos in [0, 999_999_999] {
            let bytes = encode(&(secs, nanos));
            if let Ok(time) = decode::<SystemTime>(&bytes) {
                assert_eq!(encode(&time), bytes);
            }
        }
    }
}

#[test]
fn keys_hash_as_what_they_hold() {
    assert_eq!(7usize.stable_hash(), 7u64.stable_hash());
    assert_eq!((-7isize).stable_hash(), (-7i64).stable_hash());
    assert_eq!(NonZero::<u32>::MAX.stable_hash(), u32::MAX);
    assert_eq!(Arc::new(3u16).stable_hash(), 3);
    assert_eq!(Box::<[u32]>::from([1, 2]).stable_hash(), 994);
    assert_eq!(BTreeSet::from([1u32, 2]).stable_hash(), 994);
    assert_eq!(BTreeMap::from([(1u32, 2u32)]).stable_hash(), 31 + 994);
    assert_eq!(Ok::<u8, u8>(5).stable_hash(), (0u8, 5u8).stable_hash());
    assert_eq!(Err::<u8, u8>(5).stable_hash(), (1u8, 5u8).stable_hash());
    assert_eq!(Duration::new(1, 2).stable_hash(), (1u64, 2u32).stable_hash());
    assert_eq!(UNIX_EPOCH.stable_hash(), (0i64, 0u32).stable_hash());
    assert_eq!(Cow::Borrowed("k").stable_hash(), "k".to_owned().stable_hash());
    assert_eq!(
        IpAddr::V4(Ipv4Addr::LOCALHOST).stable_hash(),
        [127u8, 0, 0, 1].stable_hash()
    );
}

proptest! {
    #[test]
    fn maps_round_trip(sorted: BTreeMap<String, Option<u8>>, hashed: HashMap<u16, VecDeque<bool>>, set: HashSet<i8>) {
        let record = (sorted, hashed, set, BTreeSet::from([1u64]));
        prop_assert_eq!(decode(&encode(&record)), Ok(record));
    }

    #[test]
    fn values_round_trip(time: SystemTime, duration: Duration, address: IpAddr, size: usize, result: Result<u8, String>) {
        let record = (time, duration, address, size, result, Arc::new(Box::new(size)));
        prop_assert_eq!(decode(&encode(&record)), Ok(record));
    }
}

#[test]
fn markers_are_records() {
    fn is_record<T: Record>() {}
    is_record::<PhantomData<fn() -> *const u8>>();
}
