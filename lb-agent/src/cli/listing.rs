//! Flags of the subcommands that ask the running agent or read its tables, and of their output.

use std::path::PathBuf;

use clap::Args;

use crate::catalog::is_name;
use crate::commands::listing::{Listing, Watch};
use crate::commands::{ListOutput, Output};
use crate::serve::{Selection, ServiceName};

#[derive(Clone, Debug, Args)]
pub struct AskArgs {
    #[command(flatten)]
    pub socket: SocketArgs,

    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Clone, Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    pub services: ServicesArgs,

    #[command(flatten)]
    pub scope: ScopeArgs,
}

#[derive(Clone, Debug, Args)]
pub struct ServicesArgs {
    /// Only these Services, as NAME or NAMESPACE/NAME [default: all].
    #[arg(value_name = "SERVICE", value_parser = service_name)]
    pub services: Vec<ServiceName>,
}

/// kubectl's flags, with its meanings.
#[derive(Clone, Debug, Args)]
pub struct NamespaceArgs {
    /// Only Services in this namespace [default: all namespaces].
    #[arg(short, long, value_name = "NAMESPACE", value_parser = namespace)]
    pub namespace: Option<String>,

    /// Services in all namespaces, also with --namespace.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
}

/// The flags of lists. They are kubectl's, with its meanings.
#[derive(Clone, Debug, Args)]
pub struct ScopeArgs {
    #[command(flatten)]
    pub namespace: NamespaceArgs,

    /// Then ask every second, and print each object again that has changed: a row, a line of JSON, or a document of YAML.
    #[arg(short, long)]
    pub watch: bool,

    /// With --watch: print with each object whether it was ADDED, MODIFIED or DELETED.
    #[arg(long, requires = "watch")]
    pub output_watch_events: bool,

    /// Output format.
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = ListOutput::Table)]
    pub output: ListOutput,

    #[command(flatten)]
    pub socket: SocketArgs,
}

#[derive(Clone, Debug, Args)]
pub struct SocketArgs {
    /// Unix socket of the running agent.
    #[arg(
        long,
        env = "SOCKLB_SOCKET",
        hide_env_values = true,
        value_name = "PATH",
        default_value = "/run/socklb/agent.sock"
    )]
    pub socket: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub struct PinArgs {
    /// Folder on a BPF file system in which programs and tables are pinned.
    #[arg(
        long,
        env = "SOCKLB_PIN_DIR",
        hide_env_values = true,
        value_name = "PATH",
        default_value = "/sys/fs/bpf/socklb"
    )]
    pub pin_dir: PathBuf,
}

#[derive(Clone, Copy, Debug, Args)]
pub struct OutputArgs {
    /// Output format.
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Output::Table)]
    pub output: Output,
}

impl ListArgs {
    pub(super) fn listing(self) -> Listing {
        self.scope.listing(self.services.services)
    }
}

impl NamespaceArgs {
    pub(super) fn select(self, services: Vec<ServiceName>) -> Selection {
        Selection {
            namespace: self.namespace.filter(|_| !self.all_namespaces),
            services,
        }
    }
}

impl ScopeArgs {
    pub(super) fn listing(self, services: Vec<ServiceName>) -> Listing {
        Listing {
            socket: self.socket.socket,
            selection: self.namespace.select(services),
            output: self.output,
            watch: match (self.watch, self.output_watch_events) {
                (false, _) => Watch::No,
                (true, false) => Watch::Objects,
                (true, true) => Watch::Events,
            },
        }
    }
}

pub(super) fn namespace(text: &str) -> Result<String, String> {
    match is_name(text) {
        true => Ok(text.to_owned()),
        false => Err("write the name of a namespace".to_owned()),
    }
}

pub(super) fn service_name(text: &str) -> Result<ServiceName, String> {
    let service = ServiceName::parse(text);
    let is_sound = is_name(&service.name) && service.namespace.as_deref().is_none_or(is_name);
    match is_sound {
        true => Ok(service),
        false => Err("write NAME or NAMESPACE/NAME".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{Cli, Command};
    use super::*;

    fn listing(args: &[&str]) -> Result<Listing, clap::Error> {
        let cli = Cli::try_parse_from(["lb-agent", "backends"].iter().chain(args))?;
        let Command::Backends(args) = cli.command else {
            panic!("it is `backends`");
        };
        Ok(args.listing())
    }

    #[test]
    fn namespaces_and_names_select_as_in_kubectl() {
        for (args, path) in [
            (&[][..], ""),
            (&["-A"], ""),
            (&["-n", "shop"], "?namespace=shop"),
            (&["-n", "shop", "-A"], ""),
            (
                &["web", "-n=shop", "db"],
                "?namespace=shop&service=web&service=db",
            ),
            (&["shop/web"], "?service=shop%2Fweb"),
        ] {
            let listing = listing(args).expect("they are sound");
            assert_eq!(listing.selection.of(""), path, "{args:?}");
        }
        for wrong in ["", "/web", "shop/", "a/b/c", "a b"] {
            assert!(listing(&[wrong]).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn events_need_a_watch() {
        let watch = |args| listing(args).map(|listing| listing.watch).ok();
        assert_eq!(watch(&[]), Some(Watch::No));
        assert_eq!(watch(&["-w"]), Some(Watch::Objects));
        assert_eq!(
            watch(&["--watch", "--output-watch-events"]),
            Some(Watch::Events)
        );
        assert_eq!(watch(&["--output-watch-events"]), None);
    }
}
