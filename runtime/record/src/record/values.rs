//! Small values of the standard library: times, addresses, numbers that are not zero, markers.

use std::{
    marker::PhantomData,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    num::NonZero,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{DecodeError, Record};
use crate::schema::{Type, Types};

const NANOS_PER_SECOND: u32 = 1_000_000_000;

/// Implements `Record` by the conversions to and from another record; the second may fail.
macro_rules! as_other {
    ($($type:ty => $wire:ty, |$value:ident| $to:expr, |$read:pat_param| $from:expr;)*) => {$(
        impl Record for $type {
            #[inline]
            fn encode(&self, out: &mut Vec<u8>) {
                let $value = self;
                $to.encode(out);
            }

            #[inline]
            fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
                let $read = <$wire>::decode(input)?;
                $from.ok_or(DecodeError::Invalid(stringify!($type)))
            }

            fn describe(_: &mut Types) -> Type {
                Type::primitive(stringify!($type))
            }
        }
    )*};
}

as_other! {
    Duration => (u64, u32), |duration| (duration.as_secs(), duration.subsec_nanos()),
        |(secs, nanos)| (nanos < NANOS_PER_SECOND).then(|| Self::new(secs, nanos));
    SystemTime => (i64, u32), |time| since_epoch(*time), |(secs, nanos)| from_epoch(secs, nanos);
    Ipv4Addr => [u8; 4], |address| address.octets(), |octets| Some(Self::from(octets));
    Ipv6Addr => [u8; 16], |address| address.octets(), |octets| Some(Self::from(octets));
    SocketAddrV4 => (Ipv4Addr, u16), |address| (*address.ip(), address.port()), |(ip, port)| Some(Self::new(ip, port));
    SocketAddrV6 => (Ipv6Addr, u16, u32, u32),
        |address| (*address.ip(), address.port(), address.flowinfo(), address.scope_id()),
        |(ip, port, flow, scope)| Some(Self::new(ip, port, flow, scope));
}

/// Seconds since 1970, rounded down, and the nanoseconds that this left.
pub(crate) fn since_epoch(time: SystemTime) -> (i64, u32) {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (after.as_secs().cast_signed(), after.subsec_nanos()),
        Err(error) => {
            let before = error.duration();
            let secs = before.as_secs().cast_signed().wrapping_neg();
            match before.subsec_nanos() {
                0 => (secs, 0),
                nanos => (secs.wrapping_sub(1), NANOS_PER_SECOND - nanos),
            }
        }
    }
}

fn from_epoch(secs: i64, nanos: u32) -> Option<SystemTime> {
    if nanos >= NANOS_PER_SECOND {
        return None;
    }
    let distance = Duration::from_secs(secs.unsigned_abs());
    let whole = if secs < 0 {
        UNIX_EPOCH.checked_sub(distance)
    } else {
        UNIX_EPOCH.checked_add(distance)
    };
    whole?.checked_add(Duration::from_nanos(nanos.into()))
}

/// Addresses of two versions: the version number, then the address.
macro_rules! versions {
    ($($type:ident: $v4:ty, $v6:ty);*) => {$(
        impl Record for $type {
            #[inline]
            fn encode(&self, out: &mut Vec<u8>) {
                match self {
                    Self::V4(address) => (4u8, *address).encode(out),
                    Self::V6(address) => (6u8, *address).encode(out),
                }
            }

            #[inline]
            fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
                match u8::decode(input)? {
                    4 => <$v4>::decode(input).map(Self::V4),
                    6 => <$v6>::decode(input).map(Self::V6),
                    _ => Err(DecodeError::Invalid(stringify!($type))),
                }
            }

            fn describe(_: &mut Types) -> Type {
                Type::primitive(stringify!($type))
            }
        }
    )*};
}

versions!(IpAddr: Ipv4Addr, Ipv6Addr; SocketAddr: SocketAddrV4, SocketAddrV6);

macro_rules! non_zero {
    ($($type:ty),*) => {$(
        impl Record for NonZero<$type> {
            #[inline]
            fn encode(&self, out: &mut Vec<u8>) {
                self.get().encode(out);
            }

            #[inline]
            fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
                Self::new(<$type>::decode(input)?).ok_or(DecodeError::Invalid("number: it must not be zero"))
            }

            fn describe(types: &mut Types) -> Type {
                <$type>::describe(types)
            }
        }
    )*};
}

non_zero!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize);

impl<T: Send + 'static> Record for PhantomData<T> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        ().encode(out);
    }

    #[inline]
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        <()>::decode(input).map(|()| Self)
    }

    fn describe(types: &mut Types) -> Type {
        <()>::describe(types)
    }
}
