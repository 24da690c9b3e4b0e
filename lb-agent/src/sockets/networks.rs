//! The network namespaces as operators know them.

use std::collections::HashMap;
use std::ops::ControlFlow;

use super::error::SocketsError;
use super::namespaces::Home;
use super::owners::namespace_names;

/// Returns the number that identifies the calling thread's network namespace to the caller of [`find`]; none: unknown.
pub type AskNumber = fn() -> Option<u64>;

/// The names of all network namespaces that can be entered, by what `ask` returns in each. One without a name has its inode
/// number.
pub fn find(home: &Home, ask: AskNumber) -> Result<HashMap<u64, String>, SocketsError> {
    let mounted = namespace_names();
    let mut found = HashMap::new();
    home.walk(&mut |entered| {
        // Others may be entered.
        if let Ok(inode) = entered
            && let Some(number) = ask()
        {
            let name = mounted.get(&inode).cloned();
            found.insert(number, name.unwrap_or_else(|| inode.to_string()));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}
