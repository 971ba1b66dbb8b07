//! The initiating role.
