//! The commands that list objects of the running agent, as users call them.

mod backends;
mod command;
mod connections;
mod explain;
mod frontends;
mod services;
mod shop;
mod terminal;
mod top;
