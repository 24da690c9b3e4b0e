//! The tables: each word and each element that another program has changed.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, HashMap, Map, MapData};
use lb_common::near::{NearFrontend, NearLine};
use lb_common::{
    Backend, FrontendEntry, FrontendKey, FrontendValue, TABLES_VERSION, Target, View, config,
    mapped,
};
use lb_testbed::{connect, connect_name, sandboxed};

use super::{nothing_was_restored, repairs, start, wait_for_checks, while_stopped};
use crate::churn::Client;
use crate::support::{
    PORT, Web, active, answers, cluster_ip, eventually, failure, wait_for_backends, write_service,
};

fn pinned(web: &Web, name: &str) -> Result<MapData> {
    let room = format!("tables-v{TABLES_VERSION}");
    Ok(MapData::from_pin(
        web.agent.pin_dir().join(room).join(name),
    )?)
}

/// An array whose elements have N words.
fn array<const N: usize>(web: &Web, name: &str) -> Result<Array<MapData, [u64; N]>> {
    Ok(Map::Array(pinned(web, name)?).try_into()?)
}

fn frontends(web: &Web) -> Result<HashMap<MapData, FrontendKey, FrontendValue>> {
    Ok(Map::HashMap(pinned(web, "FRONTENDS")?).try_into()?)
}

/// Changes an element of an array.
fn change<const N: usize>(
    web: &Web,
    name: &str,
    index: u32,
    how: impl FnOnce(&mut [u64; N]),
) -> Result<()> {
    let mut array = array::<N>(web, name)?;
    let mut element = array.get(&index, 0)?;
    how(&mut element);
    Ok(array.set(index, element, 0)?)
}

/// The key and the target of the Service's frontend.
fn target(web: &Web) -> Result<(FrontendKey, Target)> {
    let key = key_of(Web::ADDRESS)?;
    let value = frontends(web)?.get(&key, 0)?;
    Ok((key, value.read(key.tag()).context("it has the key's tag")?))
}

fn key_of(address: SocketAddr) -> Result<FrontendKey> {
    let IpAddr::V4(ip) = address.ip() else {
        anyhow::bail!("only IPv4");
    };
    let ip = u32::from_ne_bytes(ip.octets());
    Ok(FrontendKey::new(
        mapped(ip),
        address.port().to_be(),
        lb_common::TCP,
    ))
}

/// The ids of the Service's backends.
fn backend_ids(web: &Web) -> Result<Vec<u32>> {
    let lines = array::<{ Backend::WORDS }>(web, "BACKENDS")?;
    let used = |id: &u32| {
        lines
            .get(id, 0)
            .is_ok_and(|line| line[Backend::STATE_WORD] != 0)
    };
    Ok((1..100).filter(used).collect())
}

/// Everything that the agent has written; of the arrays, the part that a small test uses.
#[derive(Debug, PartialEq, Eq)]
struct Contents {
    frontends: BTreeMap<FrontendKey, [u64; 2]>,
    arrays: BTreeMap<&'static str, Vec<Vec<u64>>>,
}

impl Contents {
    fn read(web: &Web) -> Result<Self> {
        fn some<const N: usize>(
            web: &Web,
            name: &str,
            indexes: impl Iterator<Item = u32>,
            words: usize,
        ) -> Result<Vec<Vec<u64>>> {
            let array = array::<N>(web, name)?;
            let element = |index| Ok(array.get(&index, 0)?[..words].to_vec());
            indexes.map(element).collect()
        }
        let elements = frontends(web)?.iter().collect::<Result<Vec<_>, _>>()?;
        let lines: Vec<u32> = elements
            .iter()
            .map(|(key, _)| NearLine::index(key.tag()))
            .collect();
        let few = || 0..64;
        let no_heartbeat = few().filter(|&word| word != config::FAIL_OPEN_AT);
        Ok(Self {
            arrays: BTreeMap::from([
                ("FILTER", some::<1>(web, "FILTER", 0..8192, 1)?),
                (
                    "NEAR_FRONTENDS",
                    some::<8>(web, "NEAR_FRONTENDS", lines.into_iter(), 8)?,
                ),
                ("FRONTEND_LIST", some::<3>(web, "FRONTEND_LIST", few(), 3)?),
                ("VIEWS", some::<8>(web, "VIEWS", few(), View::WORDS)?),
                ("SLOTS", some::<1>(web, "SLOTS", few(), 1)?),
                (
                    "BACKENDS",
                    some::<8>(web, "BACKENDS", few(), Backend::AGENT_WORDS)?,
                ),
                ("CONFIG", some::<1>(web, "CONFIG", no_heartbeat, 1)?),
            ]),
            frontends: elements
                .into_iter()
                .map(|(key, value)| (key, bytemuck::must_cast(value)))
                .collect(),
        })
    }
}

/// Damages something while the agent is stopped, and waits until everything is restored.
fn restored(
    web: &Web,
    what: &str,
    number: u64,
    scribble: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let before = Contents::read(web)?;
    let counted = repairs(web, what)?;
    while_stopped(&web.running, || {
        scribble()?;
        ensure!(Contents::read(web)? != before, "nothing was broken");
        Ok(())
    })?;
    eventually(&format!("{what} is restored"), || {
        Ok(repairs(web, what)? > counted)
    })?;
    wait_for_checks(web, 1)?;
    assert_eq!(Contents::read(web)?, before);
    assert_eq!(repairs(web, what)? - counted, number, "{what}");
    answers(&web.client, Web::ADDRESS, 20)?;
    Ok(())
}

fn wait_for_repairs(web: &mut Web, repairs: &str) -> Result<()> {
    web.running
        .wait_for_event_with("tables.repaired", |repaired| {
            repaired.text("repairs").contains(repairs)
        })
        .map(drop)
}

#[test]
fn elements_of_frontends_are_restored() {
    sandboxed(|sandbox| {
        let mut web = start(sandbox, 2, 2)?;
        let (key, target) = target(&web)?;
        let line = NearLine::index(key.tag());
        restored(&web, "FRONTENDS", 1, || {
            frontends(&web)?.remove(&key)?;
            // Otherwise the copy there would still be found.
            change::<8>(&web, "NEAR_FRONTENDS", line, |line| *line = [0; 8])?;
            failure(&web.client, Web::ADDRESS)?;
            Ok(())
        })?;
        wait_for_repairs(&mut web, "FRONTENDS (1) of default/web:http/TCP (IPv4)")?;
        // The guard of the ClusterIP.
        restored(&web, "FRONTENDS", 1, || {
            let guard = FrontendKey::new(key.address, 0, 0);
            Ok(frontends(&web)?.remove(&guard)?)
        })?;
        let elsewhere = Target {
            view: target.view + 1,
            ..target
        };
        restored(&web, "FRONTENDS", 1, || {
            let value = FrontendValue::new(&key, elsewhere);
            Ok(frontends(&web)?.insert(key, value, 0)?)
        })?;
        let foreign = SocketAddr::from((cluster_ip(77), PORT));
        let counted = repairs(&web, "FRONTENDS")?;
        while_stopped(&web.running, || {
            let key = key_of(foreign)?;
            frontends(&web)?.insert(key, FrontendValue::new(&key, target), 0)?;
            let (word, bit) = lb_common::frontend::filter::word_and_bit(key.tag());
            change::<1>(&web, "FILTER", word, |word| word[0] |= bit)?;
            web.client.enter(|| connect_name(foreign))??;
            Ok(())
        })?;
        eventually("the unwanted elements are removed", || {
            Ok(repairs(&web, "FRONTENDS")? == counted + 1)
        })?;
        let there = frontends(&web)?.get(&key_of(foreign)?, 0);
        ensure!(there.is_err(), "{there:?}");
        failure(&web.client, foreign)?;
        Ok(())
    });
}

#[test]
fn copies_of_frontends_are_restored() {
    sandboxed(|sandbox| {
        let web = start(sandbox, 2, 2)?;
        let (key, target) = target(&web)?;
        // The frontend and its guard.
        restored(&web, "FILTER", 2, || {
            let mut filter = array::<1>(&web, "FILTER")?;
            for word in 0..filter.len() {
                filter.set(word, [0], 0)?;
            }
            failure(&web.client, Web::ADDRESS)?;
            Ok(())
        })?;
        restored(&web, "FILTER", 40, || {
            (100..140).try_for_each(|word| change::<1>(&web, "FILTER", word, |word| *word = [!0]))
        })?;
        let line = NearLine::index(key.tag());
        restored(&web, "NEAR_FRONTENDS", 1, || {
            change::<8>(&web, "NEAR_FRONTENDS", line, |line| *line = [0; 8])
        })?;
        let elsewhere = Target { view: 0, ..target };
        restored(&web, "NEAR_FRONTENDS", 1, || {
            let value = NearFrontend::value_word(key.tag(), elsewhere).context("it has a place")?;
            change::<8>(&web, "NEAR_FRONTENDS", line, |line| line[1] = value)
        })?;
        // An unwanted one, in the same line.
        restored(&web, "NEAR_FRONTENDS", 1, || {
            change::<8>(&web, "NEAR_FRONTENDS", line, |line| line[2] = 4711)
        })
    });
}

#[test]
fn slots_are_restored() {
    sandboxed(|sandbox| {
        let web = start(sandbox, 7, 6)?;
        let (_, target) = target(&web)?;
        let view = array::<8>(&web, "VIEWS")?.get(&target.view, 0)?;
        let run = lb_common::SlotRun::from_word(view[View::SLOTS_WORD]);
        ensure!(!lb_common::view::is_own(run.base), "{run:?}");
        restored(&web, "SLOTS", 3, || {
            for cell in run.base..run.base + run.cells() {
                change::<1>(&web, "SLOTS", cell, |cell| *cell = [0])?;
            }
            failure(&web.client, Web::ADDRESS)?;
            Ok(())
        })?;
        assert_eq!(answers(&web.client, Web::ADDRESS, 120)?.len(), 6);
        Ok(())
    });
}

#[test]
fn views_and_their_cells_are_restored() {
    sandboxed(|sandbox| {
        let web = start(sandbox, 3, 2)?;
        let (_, target) = target(&web)?;
        let view = array::<8>(&web, "VIEWS")?.get(&target.view, 0)?;
        let run = lb_common::SlotRun::from_word(view[View::SLOTS_WORD]);
        let (_, cell) = lb_common::view::own_cell(run.base).context("it is the view's own")?;
        restored(&web, "VIEWS", 1, || {
            change::<8>(&web, "VIEWS", target.view, |view| {
                view[View::CELLS_WORD + cell] = 0;
            })?;
            failure(&web.client, Web::ADDRESS)?;
            Ok(())
        })?;
        restored(&web, "VIEWS", View::CELLS_WORD as u64, || {
            change::<8>(&web, "VIEWS", target.view, |view| {
                view[..View::CELLS_WORD].fill(9);
            })
        })?;
        assert_eq!(answers(&web.client, Web::ADDRESS, 60)?.len(), 2);
        Ok(())
    });
}

#[test]
fn backends_and_getpeername_addresses_are_restored() {
    sandboxed(|sandbox| {
        let mut web = start(sandbox, 2, 1)?;
        let (_, target) = target(&web)?;
        let ids = backend_ids(&web)?;
        assert_eq!(ids.len(), 1);
        let other = u32::from_ne_bytes(web.servers.pods[1].ipv4().octets());
        let other: [u64; 2] = bytemuck::must_cast(mapped(other));
        restored(&web, "BACKENDS", 1, || {
            change::<8>(&web, "BACKENDS", ids[0], |line| {
                line[..2].copy_from_slice(&other)
            })?;
            let answer = web.client.enter(|| connect_name(Web::ADDRESS))??;
            assert_eq!(answer, web.servers.pods[1].name());
            Ok(())
        })?;
        restored(&web, "BACKENDS", 2, || {
            change::<8>(&web, "BACKENDS", ids[0], |line| line[2..4].fill(0))
        })?;
        let only = answers(&web.client, Web::ADDRESS, 20)?;
        assert_eq!(
            only.into_keys().collect::<Vec<_>>(),
            [web.servers.pods[0].name()]
        );

        restored(&web, "FRONTEND_LIST", FrontendEntry::WORDS as u64, || {
            change::<3>(&web, "FRONTEND_LIST", target.frontend, |entry| {
                *entry = [5; 3]
            })
        })?;
        let stream = web.client.enter(|| connect(Web::ADDRESS))??;
        assert_eq!(stream.peer_addr()?, Web::ADDRESS);
        drop(stream);

        restored(&web, "CONFIG", 2, || {
            change::<1>(&web, "CONFIG", config::GUARDED_IPV4, |word| *word = [0])?;
            change::<1>(&web, "CONFIG", config::NEXT_SERVICE_PORT, |word| {
                *word = [1]
            })
        })?;
        let refused = failure(&web.client, SocketAddr::from((cluster_ip(10), PORT + 1)))?;
        assert_eq!(refused.raw_os_error(), Some(libc::ECONNREFUSED));
        wait_for_repairs(&mut web, "CONFIG (2)")
    });
}

#[test]
fn wrong_active_counts_are_corrected() {
    sandboxed(|sandbox| {
        let web = start(sandbox, 1, 1)?;
        let stream = web.client.enter(|| connect(Web::ADDRESS))??;
        let id = backend_ids(&web)?[0];
        change::<8>(&web, "BACKENDS", id, |line| line[Backend::ACTIVE_WORD] = 40)?;
        eventually("it is noticed", || Ok(repairs(&web, "active")? == 1))?;
        assert_eq!(active(&web.agent)?, 1);
        drop(stream);
        assert_eq!(active(&web.agent)?, 0);
        Ok(())
    });
}

/// Backends, Services and sockets are added and removed.
#[test]
fn the_agents_own_changes_are_not_drift() {
    sandboxed(|sandbox| {
        let web = start(sandbox, 6, 3)?;
        let all = web.servers.ipv4();
        let clients = [(), ()].map(|()| Client::start(&web.client, Web::ADDRESS, Result::is_ok));
        for round in 0..80_u8 {
            let backends: Vec<IpAddr> = (0..3).map(|i| all[(usize::from(round) + i) % 6]).collect();
            write_service(&web.manifests, "web", cluster_ip(10), &backends)?;
            let name = format!("other-{}", round % 5);
            if round % 10 < 5 {
                write_service(&web.manifests, &name, cluster_ip(20 + round), &all)?;
            } else {
                web.manifests.remove(&format!("{name}.json"))?;
            }
            wait_for_backends(&web.agent, "web", &backends)?;
            if round % 20 == 0 {
                wait_for_checks(&web, 1)?;
            }
        }
        for client in clients {
            client.finish()?;
        }
        wait_for_checks(&web, 2)?;
        nothing_was_restored(&web)
    });
}
