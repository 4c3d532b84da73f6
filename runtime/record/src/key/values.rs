//! Keys of the standard library: each hashes as the record that it is encoded as.

use std::{
    collections::{BTreeMap, BTreeSet},
    marker::PhantomData,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    num::NonZero,
    time::{Duration, SystemTime},
};

use super::{Key, combine};
use crate::record::since_epoch;

macro_rules! as_other {
    ($($type:ty: |$value:ident| $key:expr;)*) => {$(
        impl Key for $type {
            #[inline]
            fn stable_hash(&self) -> u32 {
                let $value = self;
                $key.stable_hash()
            }
        }
    )*};
}

as_other! {
    usize: |value| (*value as u64);
    isize: |value| (*value as i64);
    Duration: |value| (value.as_secs(), value.subsec_nanos());
    SystemTime: |value| since_epoch(*value);
    Ipv4Addr: |value| value.octets();
    Ipv6Addr: |value| value.octets();
    SocketAddrV4: |value| (*value.ip(), value.port());
    SocketAddrV6: |value| (*value.ip(), value.port(), value.flowinfo(), value.scope_id());
}

macro_rules! non_zero {
    ($($type:ty),*) => {$(
        impl Key for NonZero<$type> {
            #[inline]
            fn stable_hash(&self) -> u32 {
                self.get().stable_hash()
            }
        }
    )*};
}

non_zero!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize);

macro_rules! versions {
    ($($type:ident),*) => {$(
        impl Key for $type {
            fn stable_hash(&self) -> u32 {
                match self {
                    Self::V4(address) => address.stable_hash(),
                    Self::V6(address) => address.stable_hash(),
                }
            }
        }
    )*};
}

versions!(IpAddr, SocketAddr);

impl<T: Key, E: Key> Key for Result<T, E> {
    fn stable_hash(&self) -> u32 {
        match self {
            Ok(value) => (0u8, value.stable_hash()).stable_hash(),
            Err(error) => (1u8, error.stable_hash()).stable_hash(),
        }
    }
}

impl<T: Key + Ord> Key for BTreeSet<T> {
    fn stable_hash(&self) -> u32 {
        self.iter().fold(1, |hash, item| combine(hash, item.stable_hash()))
    }
}

impl<K: Key + Ord, V: Key> Key for BTreeMap<K, V> {
    fn stable_hash(&self) -> u32 {
        self.iter().fold(1, |hash, (key, value)| {
            combine(hash, (key.stable_hash(), value.stable_hash()).stable_hash())
        })
    }
}

impl<T: Send + Eq + std::hash::Hash + Clone + 'static> Key for PhantomData<T> {
    fn stable_hash(&self) -> u32 {
        0
    }
}
