//! CLIENTS: which network namespaces the socket hooks serve, from the cookie (SO_NETNS_COOKIE) to one of these values. The kernel
//! uses no cookie twice until the next boot, and CLIENTS does not outlive a boot.

/// The hooks serve sockets of this namespace.
pub const SERVED: u64 = 1;

/// The hooks leave sockets of this namespace alone, as those of a namespace that has no element.
pub const NOT_SERVED: u64 = 0;

/// The key of the element that records the selection for which CLIENTS was filled. No namespace has this cookie: the first one is 1
/// (`gen_cookie_next` in include/linux/cookie.h).
pub const SELECTION: u64 = 0;
