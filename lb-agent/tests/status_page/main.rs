//! The status page in a headless browser, with a real agent and real connections behind it.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{
    Agent, Family, Manifests, NamedServer, Pod, Sandbox, ServiceManifest, SliceManifest, connect,
    sandboxed_within,
};

const HTTP: &str = "127.0.0.1:10356";
const PORT: u16 = 80;
const TARGET: u16 = 8080;

/// The file of an object with a name that is not valid.
const FORGED: &str = "forged.json";

/// A browser takes a while on a busy machine.
const LIMIT: Duration = Duration::from_mins(3);

/// The time of the page's own clock after which the browser looks at it: three answers of the agent.
const PAGE_TIME_MS: u32 = 7_000;

/// If set, the screenshot goes there: `docs/status-page.png` is made so.
const SCREENSHOT: &str = "SOCKLB_TEST_SCREENSHOT";

const fn cluster_ip(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 96, 0, number)
}

/// Services that work, have no backend, and have one that does not listen.
struct Node {
    _servers: Vec<NamedServer>,
    client: Pod,
    manifests: Manifests,
    agent: Agent,
}

impl Node {
    fn new(sandbox: &Sandbox) -> Result<Self> {
        let pods = sandbox.pods(3)?;
        let servers = pods[..2]
            .iter()
            .map(|pod| NamedServer::tcp(pod, TARGET, pod.name()));
        let servers: Vec<NamedServer> = servers.collect::<Result<_>>()?;
        let manifests = sandbox.manifests()?;
        let services: [(&str, u8, &[Pod]); 3] = [
            ("web", 10, &pods[..2]),
            ("empty", 11, &[]),
            ("deaf", 12, &pods[2..]),
        ];
        for (name, number, pods) in services {
            let service = ServiceManifest::new(name).cluster_ip(cluster_ip(number));
            let slice = SliceManifest::new(name, Family::IPv4).port("http", TARGET);
            let slice = slice.addresses(pods.iter().map(Pod::ipv4));
            manifests.write(
                &format!("{name}.json"),
                [service.port("http", PORT).to_json(), slice.to_json()],
            )?;
        }
        // A name that a page must not take for markup: the object is reported as a problem.
        let forged = ServiceManifest::new("<img src=x onerror=alert(1)>");
        manifests.write(FORGED, [forged.cluster_ip(cluster_ip(13)).to_json()])?;
        Ok(Self {
            _servers: servers,
            client: sandbox.pod("client")?,
            agent: Agent::new(env!("CARGO_BIN_EXE_lb-agent"), sandbox, manifests.folder()),
            manifests,
        })
    }

    /// Opens some connections, which stay open as long as the result exists.
    fn connect(&self) -> Result<Vec<TcpStream>> {
        let to = |number| SocketAddr::from((cluster_ip(number), PORT));
        self.client.enter(|| {
            for number in [11, 11, 12] {
                ensure!(connect(to(number)).is_err());
            }
            let open = (0..7).map(|_| Ok(connect(to(10))?));
            open.collect()
        })?
    }
}

/// Runs the browser on the page.
fn browser<A: AsRef<OsStr>>(folder: &Path, args: impl IntoIterator<Item = A>) -> Result<String> {
    let output = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
        ])
        .args([
            "--no-first-run",
            "--disable-extensions",
            "--disable-background-networking",
        ])
        .arg("--window-size=1200,1500")
        .arg(format!("--virtual-time-budget={PAGE_TIME_MS}"))
        .arg(format!(
            "--user-data-dir={}",
            folder.join("browser").display()
        ))
        .args(args)
        .arg(format!("http://{HTTP}/"))
        .env("HOME", folder)
        .output()
        .context("cannot start chromium: cargo xtask test status-page installs it")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {said}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// The cells of the row of this Service, without markup.
fn row<'a>(page: &'a str, service: &str) -> Result<Vec<&'a str>> {
    let table = page
        .split("<table id=\"services\">")
        .nth(1)
        .context("no table of Services")?;
    let rows = table
        .split("</table>")
        .next()
        .unwrap_or_default()
        .split("<tr>");
    let name = format!("<td>{service}</td>");
    let row = rows.into_iter().find(|row| row.contains(&name));
    let row = row.with_context(|| format!("{service} is not in {table}"))?;
    let cells = row.split("</td>").filter_map(|cell| cell.split_once("<td"));
    Ok(cells
        .map(|(_, cell)| cell.split_once('>').map_or("", |(_, text)| text))
        .collect())
}

/// Status code, headers and body.
fn request(path: &str, host: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(HTTP)?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let code = answer.split(' ').nth(1).unwrap_or_default().parse()?;
    Ok((code, answer))
}

#[test]
fn a_browser_shows_what_the_agent_knows() {
    sandboxed_within(LIMIT, |sandbox| {
        let node = Node::new(sandbox)?;
        let agent = node.agent.clone().arg("--latency").arg("--http").arg(HTTP);
        let _running = agent.start()?;
        drop(node.connect()?);
        let open = node.connect()?;
        let page = browser(sandbox.dir(), ["--dump-dom"])?;

        // Namespace, Service, port, backends, open, new per second, the plot, refused, failed, RTT.
        let web = row(&page, "web")?;
        assert_eq!(web[..5], ["default", "web", "http", "2", "7"]);
        assert!(
            web[6].contains("polyline") && web[9].ends_with(" ms"),
            "{web:?}"
        );
        assert_eq!(row(&page, "empty")?[7], "4");
        assert_eq!(row(&page, "deaf")?[8], "2");
        for shown in [
            "node-a",
            "sock_release",
            "BACKENDS",
            "agent.ready",
            "class=\"good\"",
        ] {
            assert!(page.contains(shown), "{shown} is not in {page}");
        }
        assert!(
            page.contains("&lt;img src=x") && !page.contains("<img"),
            "{page}"
        );

        fs::remove_file(node.manifests.folder().join(FORGED))?;
        let picture = sandbox.dir().join("page.png");
        browser(
            sandbox.dir(),
            [format!("--screenshot={}", picture.display())],
        )?;
        drop(open);
        let picture = fs::read(picture)?;
        assert!(
            picture.starts_with(b"\x89PNG") && picture.len() > 10_000,
            "{}",
            picture.len()
        );
        if let Some(path) = std::env::var_os(SCREENSHOT) {
            fs::write(path, picture)?;
        }
        Ok(())
    });
}

#[test]
fn the_page_is_there_only_where_metrics_name_services() {
    sandboxed_within(LIMIT, |sandbox| {
        let node = Node::new(sandbox)?;
        let everywhere = || node.agent.clone().arg("--http").arg("0.0.0.0:10356");
        let mut running = everywhere().start()?;
        for path in ["/", "/page.js", "/page.json"] {
            assert_eq!(request(path, HTTP)?.0, 404, "{path}");
        }
        running.terminate()?;

        let _running = everywhere().arg("--metrics-per").arg("service").start()?;
        let (code, answer) = request("/", HTTP)?;
        assert_eq!(code, 200);
        for header in [
            "content-security-policy: default-src 'none'",
            "x-content-type-options: nosniff",
        ] {
            assert!(answer.contains(header), "{answer}");
        }
        assert_eq!(request("/page.json", "rebound.example:10356")?.0, 421);
        assert_eq!(request("/page.json", "localhost:10356")?.0, 200);
        // Collectors may use any name.
        assert_eq!(request("/metrics", "rebound.example:10356")?.0, 200);
        Ok(())
    });
}
