//! Tests of SASL.
