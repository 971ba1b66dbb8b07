//! JIDs against RFC 7622, RFC 8264 and RFC 8265.
