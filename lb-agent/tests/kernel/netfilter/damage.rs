//! Whatever another program does to the table is found and repaired.

use anyhow::{Context as _, Result, ensure};
use lb_agent::kernel::netfilter::{Netfilter, NetfilterError, Part, Repaired, Ruleset};
use lb_testbed::sandboxed;

use super::{RULESET, element, nft, open, sorted};

/// A rule's handle: the number that nft shows behind it.
fn handle(rule: &str) -> Result<String> {
    let listed = String::from_utf8(
        std::process::Command::new("nft")
            .args(["-a", "list", "table", "inet", "socklb"])
            .output()?
            .stdout,
    )?;
    let line = listed.lines().find(|line| line.contains(rule));
    let line = line.with_context(|| format!("no rule has {rule}: {listed}"))?;
    let (_, handle) = line.rsplit_once("handle ").context("no handle")?;
    Ok(handle.to_owned())
}

/// Does the damage, and checks that a check finds these parts and leaves the table as it was.
fn damage(netfilter: &mut Netfilter, lines: &str, parts: &[Part], has_lost: bool) -> Result<()> {
    let before = nft("list table inet socklb")?;
    nft(lines)?;
    let repaired = netfilter
        .check()
        .with_context(|| format!("after: {lines}"))?;
    let wanted = Repaired {
        parts: parts.to_vec(),
        has_lost_elements: has_lost,
    };
    ensure!(repaired == wanted, "{repaired:?} after: {lines}");
    if has_lost {
        netfilter.put(&two()?)?;
    }
    let after = nft("list table inet socklb")?;
    // A chain that was made again is listed last.
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    ensure!(sorted(&after) == sorted(&before), "{after}after: {lines}");
    ensure!(netfilter.check()? == Repaired::default());
    Ok(())
}

fn two() -> Result<[(u32, std::net::SocketAddr); 2]> {
    Ok([element(1, "10.0.0.1:80")?, element(2, "[fd00::2]:80")?])
}

fn chain(name: &str) -> Vec<Part> {
    vec![Part::Chain(name.to_owned())]
}

#[test]
fn every_damage_is_repaired() {
    sandboxed(|_| {
        let mut netfilter = open()?;
        netfilter.put(&two()?)?;
        let n = &mut netfilter;
        damage(n, "flush ruleset", &[Part::Table], true)?;
        damage(n, "delete table inet socklb", &[Part::Table], true)?;
        damage(
            n,
            "delete table inet socklb\nadd table inet socklb",
            &[
                [
                    Part::Map("backends4".to_owned()),
                    Part::Map("backends6".to_owned()),
                ]
                .as_slice(),
                &["verdict", "nat", "clear", "masquerading", "invalid"]
                    .map(|name| Part::Chain(name.to_owned())),
            ]
            .concat(),
            true,
        )?;
        damage(n, "flush chain inet socklb nat", &chain("nat"), false)?;
        damage(
            n,
            "flush chain inet socklb verdict",
            &chain("verdict"),
            false,
        )?;
        damage(
            n,
            "flush chain inet socklb invalid\ndelete chain inet socklb invalid",
            &chain("invalid"),
            false,
        )?;
        let masquerade = handle("masquerade fully-random")?;
        damage(
            n,
            &format!("delete rule inet socklb masquerading handle {masquerade}"),
            &chain("masquerading"),
            false,
        )?;
        let masquerade = handle("masquerade fully-random")?;
        damage(
            n,
            &format!("replace rule inet socklb masquerading handle {masquerade} masquerade random"),
            &chain("masquerading"),
            false,
        )?;
        damage(
            n,
            "insert rule inet socklb clear ip saddr 10.0.0.0/8 accept",
            &chain("clear"),
            false,
        )?;
        damage(
            n,
            "add rule inet socklb nat meta mark set 1",
            &chain("nat"),
            false,
        )?;
        damage(
            n,
            "add chain inet socklb verdict { policy drop; }",
            &chain("verdict"),
            false,
        )?;
        damage(
            n,
            "flush chain inet socklb clear\n\
             delete chain inet socklb clear\n\
             add chain inet socklb clear { type filter hook prerouting priority 7; }",
            &chain("clear"),
            false,
        )?;
        // Two chains that need each other.
        damage(
            n,
            "add chain inet socklb one\n\
             add chain inet socklb two { type filter hook input priority 0; policy drop; }\n\
             add rule inet socklb two jump one",
            &[chain("one"), chain("two")].concat(),
            false,
        )?;
        damage(
            n,
            "add table inet socklb { flags dormant; }",
            &[Part::Table],
            false,
        )?;
        Ok(())
    });
}

#[test]
fn changed_elements_show_in_the_list() {
    sandboxed(|_| {
        let mut netfilter = open()?;
        let all = two()?;
        netfilter.put(&all)?;
        nft("flush map inet socklb backends4")?;
        ensure!(netfilter.check()? == Repaired::default());
        ensure!(sorted(&mut netfilter)? == all[1..]);
        netfilter.put(&all)?;
        nft("delete element inet socklb backends4 { 8000:1 }\n\
             add element inet socklb backends4 { 8000:1 : 10.6.6.6 . 66 }")?;
        ensure!(sorted(&mut netfilter)? == [element(1, "10.6.6.6:66")?, all[1]]);
        netfilter.put(&all)?;
        ensure!(sorted(&mut netfilter)? == all);
        Ok(())
    });
}

#[test]
fn a_map_of_another_shape_is_made_again_with_its_elements() {
    sandboxed(|_| {
        let mut netfilter = open()?;
        let all = two()?;
        netfilter.put(&all)?;
        // Everything that refers to the map has to go first.
        nft("flush chain inet socklb nat\n\
             delete map inet socklb backends4\n\
             add map inet socklb backends4 { type classid : ipv4_addr . inet_service; size 5; }\n\
             add element inet socklb backends4 { 8000:9 : 10.9.9.9 . 9 }")?;
        let repaired = netfilter.check()?;
        let map = Part::Map("backends4".to_owned());
        ensure!(
            repaired.parts == [[map].as_slice(), &chain("nat")].concat(),
            "{repaired:?}"
        );
        ensure!(!repaired.has_lost_elements);
        ensure!(sorted(&mut netfilter)? == [all[1], element(9, "10.9.9.9:9")?]);

        nft("flush chain inet socklb nat\ndelete map inet socklb backends6")?;
        ensure!(netfilter.check()?.has_lost_elements);
        Ok(())
    });
}

#[test]
fn elements_of_a_removed_table_are_an_error_that_a_check_ends() {
    sandboxed(|_| {
        let mut netfilter = open()?;
        nft("flush ruleset")?;
        let put = netfilter.put(&two()?);
        ensure!(matches!(put, Err(NetfilterError::Gone)), "{put:?}");
        netfilter.remove(&[1])?;
        ensure!(netfilter.check()?.has_lost_elements);
        netfilter.put(&two()?)?;
        ensure!(sorted(&mut netfilter)? == two()?);
        Ok(())
    });
}

#[test]
fn other_settings_change_only_their_chains() {
    sandboxed(|_| {
        let mut netfilter = open()?;
        netfilter.put(&two()?)?;
        let (_, repaired) = Netfilter::open(Ruleset {
            drops_invalid: false,
            ..RULESET
        })?;
        ensure!(repaired.parts == chain("invalid") && !repaired.has_lost_elements);
        let (mut netfilter, repaired) = Netfilter::open(Ruleset {
            masquerade_mark: 1 << 15,
            ..RULESET
        })?;
        let parts = [chain("nat"), chain("masquerading"), chain("invalid")].concat();
        ensure!(repaired.parts == parts, "{repaired:?}");
        ensure!(sorted(&mut netfilter)? == two()?);
        Ok(())
    });
}
