//! Elements of the maps, and the table's life.

use std::net::{Ipv6Addr, SocketAddr};

use anyhow::{bail, ensure};
use lb_agent::kernel::netfilter::{Netfilter, NetfilterError, Part, Repaired, Ruleset, unload};
use lb_testbed::sandboxed;

use super::{RULESET, element, nft, open, sorted};

#[test]
fn opening_again_changes_nothing() {
    sandboxed(|_| {
        let (mut first, repaired) = Netfilter::open(RULESET)?;
        ensure!(repaired.parts == [Part::Table] && repaired.has_lost_elements);
        ensure!(first.check()? == Repaired::default());
        let elements = [element(1, "10.0.0.1:80")?, element(2, "[fd00::1]:80")?];
        first.put(&elements)?;
        let before = nft("list ruleset")?;

        let (mut second, repaired) = Netfilter::open(RULESET)?;
        ensure!(repaired == Repaired::default(), "{repaired:?}");
        ensure!(nft("list ruleset")? == before);
        ensure!(sorted(&mut second)? == elements);
        Ok(())
    });
}

#[test]
fn the_table_can_be_saved_and_restored_by_nft() {
    sandboxed(|_| {
        let mut netfilter = open()?;
        netfilter.put(&[element(7, "10.0.0.1:80")?, element(8, "[fd00::1]:443")?])?;
        let saved = nft("list ruleset")?;
        ensure!(
            saved.contains("elements = { 8000:7 : 10.0.0.1 . 80 }"),
            "{saved}"
        );
        ensure!(
            saved.contains("elements = { 8000:8 : fd00::1 . 443 }"),
            "{saved}"
        );
        nft(&format!("flush ruleset\n{saved}"))?;
        ensure!(nft("list ruleset")? == saved);
        // nft may write the same rules with other expressions.
        ensure!(!netfilter.check()?.has_lost_elements);
        ensure!(sorted(&mut netfilter)?.len() == 2);
        Ok(())
    });
}

#[test]
fn an_element_is_replaced_in_both_families() {
    sandboxed(|_| {
        let mut netfilter = open()?;
        netfilter.put(&[element(1, "10.0.0.1:80")?, element(2, "10.0.0.2:80")?])?;
        netfilter.put(&[element(1, "10.0.0.1:80")?])?;
        netfilter.put(&[element(1, "10.0.0.1:81")?, element(2, "[fd00::2]:80")?])?;
        let now = [element(1, "10.0.0.1:81")?, element(2, "[fd00::2]:80")?];
        ensure!(sorted(&mut netfilter)? == now);
        // The last one of an id counts, and a mapped address is IPv4.
        let mapped = element(2, "[::ffff:10.0.0.9]:80")?;
        netfilter.put(&[element(2, "10.0.0.8:80")?, mapped])?;
        ensure!(sorted(&mut netfilter)? == [now[0], element(2, "10.0.0.9:80")?]);
        netfilter.remove(&[1, 1, 999])?;
        ensure!(sorted(&mut netfilter)? == [element(2, "10.0.0.9:80")?]);
        netfilter.remove(&[1, 2])?;
        ensure!(sorted(&mut netfilter)?.is_empty());
        Ok(())
    });
}

#[test]
fn elements_that_another_program_changed_are_replaced() {
    sandboxed(|_| {
        let mut netfilter = open()?;
        netfilter.put(&[element(1, "10.0.0.1:80")?, element(2, "10.0.0.2:80")?])?;
        nft("delete element inet socklb backends4 { 8000:1 }\n\
             add element inet socklb backends4 { 8000:3 : 10.9.9.9 . 9 }\n\
             add element inet socklb backends6 { 8000:2 : fd00::9 . 9 }")?;
        let wanted = [
            element(1, "10.0.0.3:80")?,
            element(2, "[fd00::2]:80")?,
            element(3, "10.0.0.3:80")?,
        ];
        netfilter.put(&wanted)?;
        ensure!(sorted(&mut netfilter)? == wanted);
        nft("delete element inet socklb backends4 { 8000:1 }")?;
        netfilter.remove(&[1, 2, 3])?;
        ensure!(sorted(&mut netfilter)?.is_empty());
        Ok(())
    });
}

#[test]
fn many_elements_fit_one_call() {
    sandboxed(|_| {
        let capacity = 50_000;
        let (mut netfilter, _) = Netfilter::open(Ruleset {
            capacity,
            ..RULESET
        })?;
        let address = |id: u32| -> SocketAddr {
            match id % 2 {
                0 => ([10, 0, 0, 1], 80).into(),
                _ => (Ipv6Addr::from(u128::from(id)), 80).into(),
            }
        };
        let elements: Vec<_> = (0..capacity).map(|id| (id, address(id))).collect();
        for _ in 0..2 {
            netfilter.put(&elements)?;
            ensure!(sorted(&mut netfilter)? == elements);
        }

        // Another capacity keeps them, in one transaction.
        let capacity = 60_000;
        let (mut netfilter, repaired) = Netfilter::open(Ruleset {
            capacity,
            ..RULESET
        })?;
        let maps = ["backends4", "backends6"].map(|name| Part::Map(name.to_owned()));
        ensure!(
            repaired.parts == maps && !repaired.has_lost_elements,
            "{repaired:?}"
        );
        ensure!(sorted(&mut netfilter)? == elements);
        let ids: Vec<u32> = (0..capacity).collect();
        netfilter.remove(&ids)?;
        ensure!(netfilter.elements()?.is_empty());
        Ok(())
    });
}

#[test]
fn a_full_map_refuses_more_and_keeps_what_it_has() {
    sandboxed(|_| {
        let (mut netfilter, _) = Netfilter::open(Ruleset {
            capacity: 2,
            ..RULESET
        })?;
        let two = [element(1, "10.0.0.1:80")?, element(2, "10.0.0.2:80")?];
        netfilter.put(&two)?;
        let error = netfilter.put(&[element(1, "10.0.0.9:80")?, element(3, "10.0.0.3:80")?]);
        ensure!(matches!(error, Err(NetfilterError::Full)), "{error:?}");
        ensure!(sorted(&mut netfilter)? == two);
        let moved = [element(1, "10.0.0.9:80")?, two[1]];
        netfilter.put(&moved)?;
        ensure!(sorted(&mut netfilter)? == moved);

        let (mut smaller, repaired) = Netfilter::open(Ruleset {
            capacity: 1,
            ..RULESET
        })?;
        ensure!(repaired.has_lost_elements && smaller.elements()?.len() == 1);
        let error = smaller.put(&[element(1 << 24, "10.0.0.1:80")?]);
        ensure!(matches!(error, Err(NetfilterError::Id(_))), "{error:?}");
        Ok(())
    });
}

#[test]
fn another_programs_table_is_left_alone() {
    sandboxed(|_| {
        let theirs = "table inet socklb { set hosts { type ipv4_addr; }; chain mine { type filter hook input priority 0; }; }";
        nft(theirs)?;
        let before = nft("list ruleset")?;
        let Err(NetfilterError::Foreign { chains, maps }) = Netfilter::open(RULESET) else {
            bail!("it was opened");
        };
        ensure!(chains == ["mine"] && maps == ["hosts"]);
        ensure!(!unload()?);
        ensure!(nft("list ruleset")? == before);

        nft("delete table inet socklb")?;
        nft("add table inet socklb")?;
        let mut netfilter = open()?;
        nft(&format!("flush ruleset\n{theirs}"))?;
        let error = netfilter.check();
        ensure!(
            matches!(error, Err(NetfilterError::Foreign { .. })),
            "{error:?}"
        );
        ensure!(nft("list ruleset")? == before);
        Ok(())
    });
}

#[test]
fn unloading_removes_the_table_and_nothing_else() {
    sandboxed(|_| {
        ensure!(!unload()?);
        nft("table inet other { chain c { type filter hook input priority 0; }; }")?;
        let before = nft("list ruleset")?;
        let mut netfilter = open()?;
        netfilter.put(&[element(1, "10.0.0.1:80")?])?;
        drop(netfilter);
        ensure!(nft("list ruleset")? != before);
        ensure!(unload()?);
        ensure!(nft("list ruleset")? == before);
        ensure!(!unload()?);
        Ok(())
    });
}
