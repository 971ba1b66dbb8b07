//! Payloads that more than one extension speaks.
