//! Host ranges: `tm[01-16]` means sixteen hosts, `tm[1-3,7]` four; the width of the first number is kept.

use thiserror::Error;

/// More names than this from one pattern are a typing error.
const MOST: usize = 10_000;

/// Why a pattern means no hosts.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub(crate) enum RangeError {
    /// A bracket without its partner.
    #[error("unbalanced brackets in `{0}`")]
    Unbalanced(String),
    /// Something between the brackets that is neither a number nor a range of numbers.
    #[error("`{0}` is neither a number nor a range such as 01-16")]
    NotARange(String),
    /// A range that runs backwards.
    #[error("the range `{0}` ends before it begins")]
    Backwards(String),
    /// Far too many names.
    #[error("`{0}` means more than {MOST} hosts")]
    TooMany(String),
}

/// All names that `pattern` means, in order.
pub(crate) fn expand(pattern: &str) -> Result<Vec<String>, RangeError> {
    let unbalanced = || RangeError::Unbalanced(pattern.to_owned());
    let Some(open) = pattern.find('[') else {
        return if pattern.contains(']') {
            Err(unbalanced())
        } else {
            Ok(vec![pattern.to_owned()])
        };
    };
    let close = pattern[open..].find(']').map(|at| open + at).ok_or_else(unbalanced)?;
    let (head, inner, tail) = (&pattern[..open], &pattern[open + 1..close], &pattern[close + 1..]);
    if head.contains(']') || inner.contains('[') {
        return Err(unbalanced());
    }
    let numbers = numbers(inner)?;
    let tails = expand(tail)?;
    if numbers.len().saturating_mul(tails.len()) > MOST {
        return Err(RangeError::TooMany(pattern.to_owned()));
    }
    Ok(numbers
        .iter()
        .flat_map(|number| tails.iter().map(move |tail| format!("{head}{number}{tail}")))
        .collect())
}

/// Like [`expand`], for addresses: brackets around an IPv6 literal are dropped, they are no range.
pub(crate) fn expand_address(pattern: &str) -> Result<Vec<String>, RangeError> {
    match pattern.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) if inner.contains(':') && !inner.contains(['[', ']']) => Ok(vec![inner.to_owned()]),
        _ => expand(pattern),
    }
}

/// Splits at commas outside of brackets; empty pieces vanish.
pub(crate) fn split_list(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    text.split(move |character| {
        match character {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        character == ',' && depth == 0
    })
    .map(str::trim)
    .filter(|piece| !piece.is_empty())
    .collect()
}

/// The numbers between two brackets, each as wide as the first of its range.
fn numbers(inner: &str) -> Result<Vec<String>, RangeError> {
    let mut all = Vec::new();
    for piece in inner.split(',') {
        let not_a_range = || RangeError::NotARange(piece.to_owned());
        let (first, last) = piece.split_once('-').unwrap_or((piece, piece));
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits
                .then(|| text.parse::<usize>().ok())
                .flatten()
                .ok_or_else(not_a_range)
        };
        let (low, high) = (number(first)?, number(last)?);
        if low > high {
            return Err(RangeError::Backwards(piece.to_owned()));
        }
        if high - low >= MOST || all.len() >= MOST {
            return Err(RangeError::TooMany(inner.to_owned()));
        }
        let width = first.len();
        all.extend((low..=high).map(|number| format!("{number:0width$}")));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expands() {
        let cases: [(&str, &[&str]); 8] = [
            ("tm01", &["tm01"]),
            ("tm[01-03]", &["tm01", "tm02", "tm03"]),
            ("tm[9-11]", &["tm9", "tm10", "tm11"]),
            ("tm[1-2,7].x", &["tm1.x", "tm2.x", "tm7.x"]),
            ("r[1-2]n[1-2]", &["r1n1", "r1n2", "r2n1", "r2n2"]),
            ("[3-4]", &["3", "4"]),
            ("a[5]", &["a5"]),
            ("fd00::[1-2]", &["fd00::1", "fd00::2"]),
        ];
        for (pattern, expected) in cases {
            assert_eq!(
                expand(pattern).as_deref(),
                Ok(&expected.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()[..])
            );
        }
    }

    #[test]
    fn refuses() {
        assert!(matches!(expand("tm[01"), Err(RangeError::Unbalanced(_))));
        assert!(matches!(expand("tm01]"), Err(RangeError::Unbalanced(_))));
        assert!(matches!(expand("tm]1[2-3]"), Err(RangeError::Unbalanced(_))));
        assert!(matches!(expand("tm[[1]]"), Err(RangeError::Unbalanced(_))));
        assert!(matches!(expand("tm[]"), Err(RangeError::NotARange(_))));
        assert!(matches!(expand("tm[a-b]"), Err(RangeError::NotARange(_))));
        assert!(matches!(expand("tm[1-2-3]"), Err(RangeError::NotARange(_))));
        assert!(matches!(expand("tm[16-01]"), Err(RangeError::Backwards(_))));
        assert!(matches!(expand("tm[1-99999]"), Err(RangeError::TooMany(_))));
        assert!(matches!(expand("a[1-200]b[1-200]"), Err(RangeError::TooMany(_))));
        assert!(matches!(
            expand("tm[99999999999999999999]"),
            Err(RangeError::NotARange(_))
        ));
    }

    #[test]
    fn addresses() {
        assert_eq!(expand_address("[::1]"), Ok(vec!["::1".to_owned()]));
        assert_eq!(
            expand_address("10.0.0.[1-2]"),
            Ok(vec!["10.0.0.1".to_owned(), "10.0.0.2".to_owned()])
        );
        assert_eq!(expand_address("fe80::1%eth0"), Ok(vec!["fe80::1%eth0".to_owned()]));
    }

    #[test]
    fn lists() {
        assert_eq!(split_list("a,tm[1,2] , @big,,"), ["a", "tm[1,2]", "@big"]);
    }
}
