//! `lb-agent top` on a terminal.

use anyhow::Result;
use lb_testbed::{Agent, sandboxed};
use rustix::process::Signal;

use super::command::command;
use super::terminal::Terminal;
use crate::churn::Client;
use crate::support::{PORT, Web, answers, cluster_ip, eventually, write_service};

const ESCAPE: &str = "\x1b";

fn start(agent: &Agent, width: u16) -> Result<Terminal> {
    let command = command(agent, ["top", "--interval", "1s"]);
    Terminal::start(command, width, 24)
}

/// The cells of the first row that contains a text.
fn row(screen: &str, text: &str) -> Vec<String> {
    let row = screen.lines().find(|line| line.contains(text));
    let cells = row.unwrap_or_default().split_whitespace();
    cells.map(str::to_owned).collect()
}

#[test]
fn services_and_their_backends_are_on_the_screen() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, 2, 2)?;
        let pods = web.servers.ipv4();
        write_service(&web.manifests, "idle", cluster_ip(11), &pods[..1])?;
        answers(&web.client, Web::ADDRESS, 7)?;
        let mut terminal = start(&web.agent, 100)?;
        let screen = terminal.wait_for("both Services are there", |screen| {
            row(screen, "idle").len() == 8 && row(screen, "web").len() == 8
        })?;
        assert_eq!(terminal.is_taken()?, Some(true));
        // NAMESPACE, NAME, RATE/S, ERRORS/S, ACTIVE, CONNECTIONS, BACKENDS, PROBLEMS
        assert_eq!(
            row(&screen, "web"),
            ["default", "web", "0.0", "0.0", "0", "7", "2/2", "0"]
        );
        let of_node = row(&screen, "Services");
        assert_eq!(of_node[..2], ["2", "Services"]);

        let connects = Client::start(&web.client, Web::ADDRESS, Result::is_ok);
        let rate = |cell: Option<&String>| cell.and_then(|cell| cell.parse::<f64>().ok());
        let screen = terminal.wait_for("`web` has a rate", |screen| {
            rate(row(screen, "web").get(2)) > Some(0.0)
        })?;
        let first = |screen: &str, name: &str| {
            screen
                .lines()
                .position(|line| line.contains(&format!(" {name} ")))
        };
        assert!(first(&screen, "web") < first(&screen, "idle"), "{screen}");
        assert_eq!(row(&screen, "idle")[2], "0.0");

        terminal.press("\r")?;
        let addresses = [0, 1].map(|pod| format!("{}:8080", pods[pod]));
        let screen = terminal.wait_for("the backends have shares", |screen| {
            addresses
                .iter()
                .all(|address| row(screen, address).contains(&"%".to_owned()))
        })?;
        let share = |address: &str| {
            let row = row(&screen, address);
            let percent = row.iter().position(|cell| cell == "%");
            percent.and_then(|at| row[at - 1].parse::<u32>().ok())
        };
        let sum: Option<u32> = addresses.iter().map(|address| share(address)).sum();
        // Two rounded halves.
        assert!(sum.is_some_and(|sum| sum.abs_diff(100) <= 1), "{screen}");
        assert!(screen.contains(&format!(
            "default/web   ClusterIP   {}   {PORT}/TCP",
            Web::ADDRESS.ip()
        )));
        connects.finish()?;

        terminal.press(ESCAPE)?;
        terminal.wait_for("the Services are back", |screen| screen.contains(" idle "))?;
        terminal.press("/idl\r")?;
        terminal.wait_for("only one is left", |screen| !screen.contains(" web "))?;
        terminal.press("q")?;
        assert!(terminal.ended()?.success());
        assert_eq!(terminal.is_taken()?, Some(false));
        Ok(())
    });
}

#[test]
fn the_screen_follows_the_size_of_the_terminal() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, 1, 1)?;
        let mut terminal = start(&web.agent, 80)?;
        let screen =
            terminal.wait_for("the Service is there", |screen| screen.contains(" web "))?;
        assert!(!screen.contains("RTT-P99"), "{screen}");
        terminal.resize(120, 10)?;
        let screen = terminal.wait_for("there is another column", |screen| {
            screen.contains("RTT-P99")
        })?;
        let last = screen.lines().last().unwrap_or_default();
        assert!(
            screen.lines().count() <= 10 && last.contains("quit"),
            "{screen}"
        );
        terminal.resize(20, 3)?;
        terminal.wait_for("it is drawn in three lines", |screen| {
            screen.lines().count() <= 3 && screen.contains("socklb top")
        })?;
        terminal.resize(80, 24)?;
        terminal.wait_for("the Service is back", |screen| screen.contains(" web "))?;
        Ok(())
    });
}

#[test]
fn signals_and_a_hang_up_end_it() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, 1, 1)?;
        for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
            let mut terminal = start(&web.agent, 80)?;
            terminal.wait_for("it runs", |screen| screen.contains(" web "))?;
            terminal.signal(signal)?;
            assert!(terminal.ended()?.success(), "{signal:?}");
            assert_eq!(terminal.is_taken()?, Some(false), "{signal:?}");
        }
        let mut terminal = start(&web.agent, 80)?;
        terminal.wait_for("it runs", |screen| screen.contains(" web "))?;
        terminal.hang_up();
        terminal.ended()?;
        Ok(())
    });
}

#[test]
fn it_goes_on_with_the_next_agent() {
    sandboxed(|sandbox| {
        let mut web = Web::start(sandbox, 1, 1)?;
        let mut terminal = start(&web.agent, 100)?;
        terminal.wait_for("it runs", |screen| screen.contains(" web "))?;
        web.running.terminate()?;
        let screen = terminal.wait_for("the agent is gone", |screen| {
            screen.contains("cannot connect")
        })?;
        assert!(screen.contains(" web "), "{screen}");
        web.running = web.agent.start()?;
        terminal.wait_for("the next one answers", |screen| {
            !screen.contains("cannot connect")
        })?;
        answers(&web.client, Web::ADDRESS, 3)?;
        terminal.wait_for("its counters are there", |screen| {
            row(screen, " web ").get(5).is_some_and(|cell| cell == "3")
        })?;
        Ok(())
    });
}

#[test]
fn colors_can_be_turned_off() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, 1, 1)?;
        write_service(&web.manifests, "empty", cluster_ip(11), &[])?;
        eventually("both Services are there", || {
            Ok(super::command::objects(&web.agent, &["services"])?.len() == 2)
        })?;
        let has_color = |value: &str| -> Result<bool> {
            let mut command = command(&web.agent, ["top"]);
            command.env("NO_COLOR", value);
            let mut terminal = Terminal::start(command, 80, 24)?;
            terminal.wait_for("it runs", |screen| screen.contains("0/0"))?;
            let written = terminal.written()?;
            // 256 colours of the foreground or the background.
            Ok(written.contains("38;5;") || written.contains("48;5;"))
        };
        assert!(has_color("")?);
        assert!(!has_color("1")?);
        Ok(())
    });
}

#[test]
fn without_a_terminal_it_says_how_to_get_one() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, 1, 1)?;
        let output = command(&web.agent, ["top"]).output()?;
        let error = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty() && error.contains("-it"), "{error}");

        // Without an agent the screen is not touched.
        let no_socket = sandbox.dir().join("no.sock");
        let command = command(&web.agent.on_socket(&no_socket), ["top"]);
        let mut terminal = Terminal::start(command, 200, 24)?;
        assert_eq!(terminal.ended()?.code(), Some(1));
        assert!(terminal.text()?.contains("no.sock"));
        assert_eq!(terminal.is_taken()?, Some(false));
        let written = terminal.written()?;
        assert!(!written.contains(ESCAPE), "{written:?}");
        Ok(())
    });
}
