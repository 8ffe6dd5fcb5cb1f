//! The handler of `/batch`: many operations as one step of the log, and a result for each.

mod read;
