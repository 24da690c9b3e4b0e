//! Connections are selected by Service, backend and process.

use lb_testbed::sandboxed;

use super::{Client, IPV4, IPV6, NONE, Open, Scene, cookies_of, one_of_each, sleep_with};

#[test]
fn flags_select_by_service_and_backend() {
    sandboxed(|sandbox| {
        let scene = Scene::start(sandbox, 2)?;
        let mut clients = scene.client.enter(|| one_of_each(&scene))??;
        for pod in &scene.pods {
            while !clients.iter().any(|of| of.backend.ip() == pod.ipv4()) {
                clients.push(scene.client.enter(|| Client::tcp(&scene, IPV4))??);
            }
        }
        let some =
            |is_so: &dyn Fn(&Client) -> bool| cookies_of(clients.iter().filter(|of| is_so(of)));
        let all = some(&|_| true)?;
        let tcp = some(&|of| of.protocol() == "TCP")?;
        let udp = some(&|of| of.protocol() == "UDP")?;
        for args in [
            &["web"][..],
            &["shop/web"],
            &["-n", "shop"],
            &["-A", "-n", "other"],
            &["db", "web"],
        ] {
            assert_eq!(scene.cookies(args)?, all, "{args:?}");
        }
        for args in [
            &["db"][..],
            &["default/web"],
            &["-n", "default"],
            &["web:https"],
        ] {
            assert_eq!(scene.cookies(args)?, NONE, "{args:?}");
        }
        for args in ["web:http", "web:80", "shop/web:http"] {
            assert_eq!(scene.cookies(&[args])?, tcp, "{args}");
        }
        for args in ["web:dns", "web:53", "shop/web:53"] {
            assert_eq!(scene.cookies(&[args])?, udp, "{args}");
        }
        for backend in clients.iter().map(|client| client.backend) {
            let address = backend.ip().to_string();
            let of_address = some(&|of| of.backend == backend)?;
            assert_eq!(scene.cookies(&["--backend", &address])?, of_address);
            let port = backend.to_string();
            assert_eq!(scene.cookies(&["--backend", &port])?, of_address);
            let of_both = some(&|of| of.backend == backend && of.protocol() == "TCP")?;
            assert_eq!(scene.cookies(&["web:http", "--backend", &port])?, of_both);
        }
        let other_port = format!("{}:1", scene.pods[0].ipv4());
        assert_eq!(scene.cookies(&["--backend", &other_port])?, NONE);
        Ok(())
    });
}

#[test]
fn one_process_can_be_selected() {
    sandboxed(|sandbox| {
        let scene = Scene::start(sandbox, 1)?;
        let connect = |to| scene.client.enter(|| Client::tcp(&scene, to));
        let (own, given) = (connect(IPV4)??, connect(IPV6)??);
        let given_cookie = given.cookie()?;
        let Open::Tcp(stream) = given.open else {
            unreachable!("it is TCP")
        };
        let mut child = sleep_with(stream.into(), 0)?;
        let of = |pid: u32| scene.cookies(&["--pid", &pid.to_string()]);
        assert_eq!(of(child.id())?, [given_cookie]);
        assert_eq!(of(1)?, NONE);
        assert_eq!(of(std::process::id())?, [own.cookie()?]);
        child.kill()?;
        child.wait()?;
        Ok(())
    });
}
