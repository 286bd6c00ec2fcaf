//! Types, shapes and symbolic values.
