//! Typed state that extensions attach to accounts and sessions.
//!
//! A slot is asked for once, at start-up ([`crate::Host::account_slot`], [`crate::Host::session_slot`]), and is then a plain index:
//! reading it in a lane step costs one bound check and one downcast, and a slot that was never written takes 16 bytes.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;

/// State of type `T` at each account in memory. Filled by the account's [`crate::points::Load`] if there is one, else with `T::default()`.
pub struct AccountSlot<T>(pub(crate) usize, pub(crate) PhantomData<fn() -> T>);

/// State of type `T` at each session.
pub struct SessionSlot<T>(pub(crate) usize, pub(crate) PhantomData<fn() -> T>);

impl<T> Clone for AccountSlot<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for AccountSlot<T> {}
impl<T> Clone for SessionSlot<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for SessionSlot<T> {}

impl<T> fmt::Debug for AccountSlot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccountSlot({})", self.0)
    }
}
impl<T> fmt::Debug for SessionSlot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionSlot({})", self.0)
    }
}

/// How long a session's slot keeps its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Until the session ends; a resumption keeps it (XEP-0280 carbons).
    Session,
    /// Until the stream ends; a resumed session begins anew (XEP-0352 §5).
    Stream,
}

/// The values of one account's or one session's slots.
#[derive(Default)]
pub struct Slots(Vec<Option<Box<dyn Any + Send + Sync>>>);

impl Slots {
    pub(crate) fn get<T: 'static>(&self, index: usize) -> Option<&T> {
        self.0.get(index)?.as_ref()?.downcast_ref()
    }

    pub(crate) fn get_mut<T: Default + Send + Sync + 'static>(&mut self, index: usize) -> &mut T {
        if self.0.len() <= index {
            self.0.resize_with(index + 1, || None);
        }
        let cell = &mut self.0[index];
        if !cell.as_ref().is_some_and(|value| value.is::<T>()) {
            *cell = Some(Box::new(T::default()));
        }
        match cell.as_mut().and_then(|value| value.downcast_mut()) {
            Some(value) => value,
            None => unreachable!("the cell was just filled with this type"),
        }
    }

    pub(crate) fn set(&mut self, index: usize, value: Box<dyn Any + Send + Sync>) {
        if self.0.len() <= index {
            self.0.resize_with(index + 1, || None);
        }
        self.0[index] = Some(value);
    }

    pub(crate) fn clear(&mut self, index: usize) {
        if let Some(cell) = self.0.get_mut(index) {
            *cell = None;
        }
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slots({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_empty_until_written_and_again_after_clear() {
        let mut slots = Slots::default();
        assert_eq!(slots.get::<bool>(3), None);
        *slots.get_mut::<bool>(3) = true;
        assert_eq!(slots.get::<bool>(3), Some(&true));
        slots.set(0, Box::new(7_u32));
        assert_eq!(slots.get::<u32>(0), Some(&7));
        slots.clear(3);
        assert_eq!(slots.get::<bool>(3), None);
    }
}
