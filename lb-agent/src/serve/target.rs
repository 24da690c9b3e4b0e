//! What an explanation is about, as the query of a request: `?target=10.96.0.10:80/tcp&from=10.244.1.7`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::explanation::EXPLAIN;
use crate::catalog::{Protocol, is_name};

/// What to explain, and for which client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainRequest {
    pub target: Target,
    /// The client's address; none: any pod.
    pub from: Option<IpAddr>,
    /// The cookie of the client's network namespace (SO_NETNS_COOKIE); none: unknown.
    pub network: Option<u64>,
}

/// What a client connects to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Address {
        address: SocketAddr,
        protocol: Protocol,
    },
    Service {
        namespace: String,
        name: String,
        /// The name or number of a port; none: all ports.
        port: Option<String>,
    },
}

const TARGET: &str = "target";
const FROM: &str = "from";
const NETWORK: &str = "network";

impl ExplainRequest {
    /// The path with this request as its query.
    #[must_use]
    pub fn path(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair(TARGET, &self.target.to_string());
        if let Some(from) = self.from {
            query.append_pair(FROM, &from.to_string());
        }
        if let Some(network) = self.network {
            query.append_pair(NETWORK, &network.to_string());
        }
        format!("{EXPLAIN}?{}", query.finish())
    }

    /// From the query of a request, without its `?`. Unknown parameters are ignored.
    ///
    /// # Errors
    /// There is no target, or a value cannot be read.
    pub fn from_query(query: &str) -> Result<Self, String> {
        let (mut target, mut from, mut network) = (None, None, None);
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let error = |error: &dyn fmt::Display| format!("cannot read {key} {value:?}: {error}");
            match &*key {
                TARGET => target = Some(value.parse().map_err(|of: String| error(&of))?),
                FROM => {
                    from = Some(
                        value
                            .parse()
                            .map_err(|of: std::net::AddrParseError| error(&of))?,
                    );
                }
                NETWORK => {
                    let number = value.parse();
                    network = Some(number.map_err(|of: std::num::ParseIntError| error(&of))?);
                }
                _ => {}
            }
        }
        let target = target.ok_or("cannot explain without a target: add ?target=ADDRESS:PORT")?;
        Ok(Self {
            target,
            from,
            network,
        })
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, protocol) = match text.rsplit_once('/') {
            Some((address, "tcp" | "TCP")) => (address, Protocol::Tcp),
            Some((address, "udp" | "UDP")) => (address, Protocol::Udp),
            _ => (text, Protocol::Tcp),
        };
        if let Ok(address) = address.parse::<SocketAddr>() {
            // A frontend has no zone, and an IPv4 address is one in either form.
            let address = SocketAddr::new(address.ip().to_canonical(), address.port());
            return Ok(Self::Address { address, protocol });
        }
        let bare = address.trim_matches(['[', ']']);
        if bare.parse::<IpAddr>().is_ok() {
            return Err("add the port: ADDRESS:PORT, or [ADDRESS]:PORT for IPv6".to_owned());
        }
        let (namespace, rest) = text.split_once('/').unwrap_or(("default", text));
        let (name, port) = match rest.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (rest, None),
        };
        let is_word = |word: &str| is_name(word) && !word.contains([':', '[', ']']);
        if !is_word(namespace) || !is_word(name) || !port.is_none_or(is_word) {
            return Err("write ADDRESS:PORT, ADDRESS:PORT/udp, or NAMESPACE/NAME:PORT".to_owned());
        }
        Ok(Self::Service {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            port: port.map(str::to_owned),
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { address, protocol } => write!(f, "{address}/{protocol}"),
            Self::Service {
                namespace,
                name,
                port,
            } => {
                write!(f, "{namespace}/{name}")?;
                port.iter().try_for_each(|port| write!(f, ":{port}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ExplainRequest, Target};

    #[test]
    fn targets_are_addresses_or_services() {
        for (text, target) in [
            ("10.96.0.10:80", "10.96.0.10:80/TCP"),
            ("10.96.0.10:53/udp", "10.96.0.10:53/UDP"),
            ("[::1]:80/tcp", "[::1]:80/TCP"),
            ("[::ffff:10.96.0.10]:80", "10.96.0.10:80/TCP"),
            ("web", "default/web"),
            ("shop/web", "shop/web"),
            ("shop/web:http", "shop/web:http"),
            ("web:80", "default/web:80"),
            ("shop/tcp", "shop/tcp"),
        ] {
            let parsed: Target = text.parse().expect(text);
            assert_eq!(parsed.to_string(), target, "{text}");
            assert_eq!(target.parse(), Ok(parsed), "{text}");
        }
        for wrong in [
            "",
            "10.96.0.10",
            "::1",
            "[::1]",
            "a/b/c",
            "shop/",
            "/web",
            "web:",
            "10.96.0.10:99999:1",
            "10.96.0.10:80/sctp/x",
            "a b",
        ] {
            assert!(wrong.parse::<Target>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_request_survives_the_query() {
        for (query, from) in [
            ("target=shop%2Fweb%3Ahttp", None),
            (
                "target=10.96.0.10%3A80%2FTCP&from=10.244.1.7",
                Some("10.244.1.7"),
            ),
        ] {
            let request = ExplainRequest::from_query(query).expect("it is sound");
            assert_eq!(request.from, from.map(|ip| ip.parse().expect("an address")));
            assert_eq!(request.path(), format!("/v1/explain?{query}"));
        }
        let of_network = "target=default%2Fweb&network=4097";
        let request = ExplainRequest::from_query(of_network).expect("it is sound");
        assert_eq!(request.network, Some(4_097));
        assert_eq!(request.path(), format!("/v1/explain?{of_network}"));
        for wrong in [
            "",
            "target=a+b",
            "target=web&from=here",
            "target=web&network=-1",
        ] {
            assert!(ExplainRequest::from_query(wrong).is_err(), "{wrong}");
        }
    }
}
