//! The record of each session and message: what was said, found and decided, and when.
