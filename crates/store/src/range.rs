//! Which keys a read or a deletion is about.

use std::ops::Bound;

use bytes::Bytes;

/// A stretch of keys in byte order. Every restriction narrows what is there already.
///
/// ```
/// use nuncio_store::Range;
/// // The second page of everything below `item/`:
/// let page = Range::prefix(b"item/").after(b"item/17");
/// assert!(page.contains(b"item/18") && !page.contains(b"item/17") && !page.contains(b"itemless"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    pub(crate) from: Bound<Bytes>,
    pub(crate) to: Bound<Bytes>,
}

impl Default for Range {
    fn default() -> Self {
        Self::all()
    }
}

impl Range {
    /// Every key.
    pub const fn all() -> Self {
        Self { from: Bound::Unbounded, to: Bound::Unbounded }
    }

    /// Every key that begins with `prefix`.
    pub fn prefix(prefix: &[u8]) -> Self {
        // The first key behind all that begin with the prefix: what is left without trailing 0xff, counted up by one.
        let end = prefix.iter().rposition(|byte| *byte != 0xff).map(|last| {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            Bytes::from(end)
        });
        Self {
            from: Bound::Included(Bytes::copy_from_slice(prefix)),
            to: end.map_or(Bound::Unbounded, Bound::Excluded),
        }
    }

    /// Exactly one key.
    pub fn only(key: &[u8]) -> Self {
        let key = Bytes::copy_from_slice(key);
        Self { from: Bound::Included(key.clone()), to: Bound::Included(key) }
    }

    /// The keys between two bounds.
    pub fn bounds(from: Bound<&[u8]>, to: Bound<&[u8]>) -> Self {
        Self { from: from.map(Bytes::copy_from_slice), to: to.map(Bytes::copy_from_slice) }
    }

    /// Of these, the ones at or behind `key`.
    pub fn starting(self, key: &[u8]) -> Self {
        self.narrow_from(Bound::Included(Bytes::copy_from_slice(key)))
    }

    /// Of these, the ones behind `key`: the next page after the key that ended the last one.
    pub fn after(self, key: &[u8]) -> Self {
        self.narrow_from(Bound::Excluded(Bytes::copy_from_slice(key)))
    }

    /// Of these, the ones before `key`.
    pub fn before(self, key: &[u8]) -> Self {
        let key = Bytes::copy_from_slice(key);
        let narrower = match &self.to {
            Bound::Unbounded => true,
            Bound::Included(to) | Bound::Excluded(to) => key <= *to,
        };
        if narrower { Self { to: Bound::Excluded(key), ..self } } else { self }
    }

    fn narrow_from(self, bound: Bound<Bytes>) -> Self {
        let narrower = match (&self.from, &bound) {
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => true,
            (Bound::Included(old), Bound::Included(new) | Bound::Excluded(new)) => new >= old,
            (Bound::Excluded(old), Bound::Included(new)) => new > old,
            (Bound::Excluded(old), Bound::Excluded(new)) => new >= old,
        };
        if narrower { Self { from: bound, ..self } } else { self }
    }

    /// Whether `key` lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        let behind_start = match &self.from {
            Bound::Unbounded => true,
            Bound::Included(from) => key >= &from[..],
            Bound::Excluded(from) => key > &from[..],
        };
        let before_end = match &self.to {
            Bound::Unbounded => true,
            Bound::Included(to) => key <= &to[..],
            Bound::Excluded(to) => key < &to[..],
        };
        behind_start && before_end
    }

    /// Whether no key at all can lie in the range.
    pub(crate) fn is_empty(&self) -> bool {
        match (&self.from, &self.to) {
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
            (Bound::Included(from), Bound::Included(to)) => from > to,
            (Bound::Included(from) | Bound::Excluded(from), Bound::Excluded(to))
            | (Bound::Excluded(from), Bound::Included(to)) => from >= to,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_ends_where_the_prefix_does() {
        let inside: &[(&[u8], &[u8])] = &[
            (b"", b""),
            (b"", b"\xff\xff"),
            (b"a", b"a"),
            (b"a", b"a\xff\xff"),
            (b"a\xff", b"a\xff\xff"),
            (b"\xff", b"\xff\xff"),
        ];
        for (prefix, key) in inside {
            assert!(Range::prefix(prefix).contains(key), "{prefix:?} {key:?}");
        }
        let outside: &[(&[u8], &[u8])] =
            &[(b"a", b"b"), (b"a", b""), (b"a\xff", b"b"), (b"a\xff", b"a\xfe\xff"), (b"\xff\xff", b"\xff")];
        for (prefix, key) in outside {
            assert!(!Range::prefix(prefix).contains(key), "{prefix:?} {key:?}");
        }
    }

    #[test]
    fn restrictions_only_narrow() {
        let range = Range::prefix(b"m").after(b"a").before(b"z");
        assert_eq!(range, Range::prefix(b"m"));
        assert!(Range::all().after(b"k").before(b"k").is_empty());
        assert!(Range::bounds(Bound::Included(b"b"), Bound::Included(b"a")).is_empty());
        assert!(!Range::only(b"k").is_empty());
        assert!(Range::only(b"k").after(b"k").is_empty());
        assert_eq!(Range::all().after(b"k").starting(b"k"), Range::all().after(b"k"));
    }
}
