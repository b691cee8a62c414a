//! Tests of the audience core, in virtual time.
