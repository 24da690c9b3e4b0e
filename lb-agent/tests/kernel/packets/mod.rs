//! The packet path, with real packets: from machines outside, from pods without hooks, from pods of another node.

mod duties;
mod matrix;
mod scene;
