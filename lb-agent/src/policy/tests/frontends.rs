//! The frontends of a Service.

use super::{check, check_problems};

#[test]
fn a_service_gets_every_kind_of_frontend() {
    check(
        "kind: Service\nmetadata: {name: web, namespace: shop}\nspec:\n  type: LoadBalancer\n  clusterIP: 10.96.0.1\n  \
         clusterIPs: [10.96.0.1, 'fd00::1']\n  ipFamilies: [IPv4, IPv6]\n  externalIPs: [192.0.2.1, '2001:db8::1', 192.0.2.2]\n  \
         ports: [{name: http, port: 80, nodePort: 30080}]\nstatus: {loadBalancer: {ingress: [\
         {ip: 192.0.2.9}, {ip: 192.0.2.8, ipMode: Proxy}, {ip: 192.0.2.2, ipMode: VIP}, {hostname: a.b}]}}\n",
        &[
            "shop/web:http/TCP (IPv4) all [ClusterIP 10.96.0.1 80, NodePort * 30080, \
             ExternalIP 192.0.2.1 80, ExternalIP 192.0.2.2 80, LoadBalancer 192.0.2.9 80] -> ",
            "shop/web:http/TCP (IPv6) all [ClusterIP fd00::1 80, NodePort * 30080, ExternalIP 2001:db8::1 80] -> ",
        ],
    );
}

#[test]
fn without_ip_families_the_addresses_decide() {
    check(
        "kind: Service\nmetadata: {name: web}\nspec: {clusterIP: 'fd00::1', ports: [{port: 53, protocol: UDP}]}\n",
        &["default/web/UDP (IPv6) all [ClusterIP fd00::1 53] -> "],
    );
}

#[test]
fn each_family_takes_the_cluster_ip_at_its_position() {
    let cases = [
        ("clusterIP: 10.96.0.1", "10.96.0.1", ""),
        ("clusterIP: 010.96.0.001", "10.96.0.1", ""),
        ("clusterIPs: [10.96.0.1]", "10.96.0.1", ""),
        ("clusterIP: '', clusterIPs: [10.96.0.1]", "10.96.0.1", ""),
        ("clusterIP: 10.96.0.1, clusterIPs: []", "10.96.0.1", ""),
        ("clusterIP: 10.96.0.1, ipFamilies: [IPv4]", "10.96.0.1", ""),
        (
            "clusterIP: 10.96.0.9, clusterIPs: [10.96.0.1]",
            "10.96.0.1",
            "",
        ),
        ("clusterIPs: [10.96.0.1, 'fd00::1']", "10.96.0.1", "fd00::1"),
        (
            "clusterIPs: ['fd00::1', 10.96.0.1], ipFamilies: [IPv6, IPv4]",
            "10.96.0.1",
            "fd00::1",
        ),
    ];
    for (spec, ipv4, ipv6) in cases {
        let yaml = format!(
            "kind: Service\nmetadata: {{name: web}}\nspec: {{ports: [{{port: 80}}], {spec}}}\n"
        );
        let line = |(family, ip)| format!("default/web/TCP ({family}) all [ClusterIP {ip} 80] -> ");
        let families = [("IPv4", ipv4), ("IPv6", ipv6)].into_iter();
        let plan: Vec<String> = families
            .filter(|(_, ip)| !ip.is_empty())
            .map(line)
            .collect();
        let plan: Vec<&str> = plan.iter().map(String::as_str).collect();
        check(&yaml, &plan);
    }
}

#[test]
fn invalid_and_surplus_cluster_ips_are_reported() {
    let with = |spec: &str| {
        format!("kind: Service\nmetadata: {{name: web}}\nspec: {{ports: [{{port: 80}}], {spec}}}\n")
    };
    let plain = "default/web/TCP (IPv4) all [ClusterIP 10.96.0.1 80] -> ";
    check_problems(
        &with("clusterIPs: [10.96.0.1, 10.96.0.2]"),
        &[plain],
        &["spec.clusterIPs: 10.96.0.2 is the second address of its family: keep one per family"],
    );
    check_problems(
        &with("clusterIP: ten"),
        &[],
        &["spec.clusterIP: \"ten\" is not an IP address"],
    );
    check_problems(
        &with("clusterIPs: [10.96.0.1], ipFamilies: [ipv4]"),
        &[],
        &["spec.ipFamilies[0] \"ipv4\": write IPv4 or IPv6"],
    );
}

#[test]
fn node_port_0_is_absent_and_the_service_type_does_not_matter() {
    let cases = [
        ("NodePort", 30080, ", NodePort * 30080"),
        ("ClusterIP", 30080, ", NodePort * 30080"),
        ("LoadBalancer", 0, ""),
    ];
    for (of_type, number, node_port) in cases {
        check(
            &format!(
                "kind: Service\nmetadata: {{name: web}}\nspec: {{type: {of_type}, clusterIP: 10.96.0.1, \
                 allocateLoadBalancerNodePorts: false, ports: [{{port: 80, nodePort: {number}}}]}}\n"
            ),
            &[&format!(
                "default/web/TCP (IPv4) all [ClusterIP 10.96.0.1 80{node_port}] -> "
            )],
        );
    }
}

#[test]
fn source_ranges_apply_to_load_balancer_ips_of_their_family() {
    let with = |ranges: &str| {
        format!(
            "kind: Service\nmetadata: {{name: web}}\nspec:\n  type: LoadBalancer\n  \
             clusterIPs: [10.96.0.1, 'fd00::1']\n  ports: [{{port: 80, nodePort: 30080}}]\n  \
             loadBalancerSourceRanges: [{ranges}]\n\
             status: {{loadBalancer: {{ingress: [{{ip: 192.0.2.9}}, {{ip: '2001:db8::9'}}]}}}}\n"
        )
    };
    let ipv4 = "default/web/TCP (IPv4) all [ClusterIP 10.96.0.1 80, NodePort * 30080] -> ";
    let ipv6 = "default/web/TCP (IPv6) all [ClusterIP fd00::1 80, NodePort * 30080] -> ";
    let open4 = ipv4.replace("]", ", LoadBalancer 192.0.2.9 80]");
    let open6 = ipv6.replace("]", ", LoadBalancer 2001:db8::9 80]");
    let problem = |ip: &str| {
        format!(
            "{ip} is not balanced, because a socket hook cannot check spec.loadBalancerSourceRanges"
        )
    };
    let (problem4, problem6) = (problem("192.0.2.9"), problem("2001:db8::9"));
    check_problems(&with("10.0.0.0/8, '::/0'"), &[ipv4, &open6], &[&problem4]);
    check_problems(
        &with("'fd00::/8', '0.0.0.0/0 '"),
        &[&open4, ipv6],
        &[&problem6],
    );
    check_problems(
        &with("'fd00::/8', 10.0.0.0/8"),
        &[ipv4, ipv6],
        &[&problem4, &problem6],
    );
    check(
        &with("'::/0', 0.0.0.0/0, 'fd00::/8', 10.0.0.0/8"),
        &[&open4, &open6],
    );
    check(&with(""), &[&open4, &open6]);
}

#[test]
fn source_ranges_leave_load_balancer_ips_to_kube_proxy() {
    let with = |ranges: &str| {
        format!(
            "kind: Service\nmetadata: {{name: web}}\nspec:\n  clusterIP: 10.96.0.1\n  ports: [{{port: 80}}]\n  \
             externalIPs: [192.0.2.1]\n  loadBalancerSourceRanges: [{ranges}]\n\
             status: {{loadBalancer: {{ingress: [{{ip: 192.0.2.9}}]}}}}\n"
        )
    };
    let without =
        "default/web/TCP (IPv4) all [ClusterIP 10.96.0.1 80, ExternalIP 192.0.2.1 80] -> ";
    let open = "default/web/TCP (IPv4) all [ClusterIP 10.96.0.1 80, ExternalIP 192.0.2.1 80, LoadBalancer 192.0.2.9 80] -> ";
    for range in ["' 10.0.0.0/8'", "010.0.0.0/8"] {
        let problem = "status.loadBalancer.ingress[0].ip: 192.0.2.9 is not balanced, because a socket hook cannot check spec.loadBalancerSourceRanges";
        check_problems(&with(range), &[without], &[problem]);
    }
    check(&with("10.0.0.0/8, 0.0.0.0/0"), &[open]);
    check(&with("'fd00::/8'"), &[open]);
    check_problems(
        &with("10.0.0.0/33"),
        &[open],
        &["spec.loadBalancerSourceRanges[0] \"10.0.0.0/33\""],
    );
}

#[test]
fn invalid_addresses_are_reported_and_skipped() {
    check_problems(
        "kind: Service\nmetadata: {name: web}\nspec:\n  clusterIP: 10.96.0.1\n  ports: [{port: 80}]\n  \
         externalIPs: [web, '2001:db8::1', 0.0.0.0, 192.0.2.1]\n",
        &["default/web/TCP (IPv4) all [ClusterIP 10.96.0.1 80, ExternalIP 192.0.2.1 80] -> "],
        &[
            "spec.externalIPs[0]: \"web\" is not an IP address",
            "spec.externalIPs[1]: 2001:db8::1 is of a family that the Service does not have",
            "spec.externalIPs[2]: 0.0.0.0 is the unspecified address: write another",
        ],
    );
    check_problems(
        "kind: Service\nmetadata: {name: web}\nspec: {clusterIPs: [10.96.0.1, 10.96.0.2], ipFamilies: [IPv6], ports: [{port: 80}]}\n",
        &["default/web/TCP (IPv4) all [ClusterIP 10.96.0.2 80] -> "],
        &["spec.clusterIPs: 10.96.0.1 is not an IPv6 address, but spec.ipFamilies[0] is IPv6"],
    );
}

#[test]
fn an_unknown_ip_mode_is_reported() {
    let ingress =
        "[{ip: 192.0.2.8, ipMode: vip}, {ip: 192.0.2.9, ipMode: VIP}, {hostname: a.b, ipMode: x}]";
    check_problems(
        &format!(
            "kind: Service\nmetadata: {{name: web}}\nspec: {{clusterIP: 10.96.0.1, ports: [{{port: 80}}]}}\n\
             status: {{loadBalancer: {{ingress: {ingress}}}}}\n"
        ),
        &["default/web/TCP (IPv4) all [ClusterIP 10.96.0.1 80, LoadBalancer 192.0.2.9 80] -> "],
        &[
            "status.loadBalancer.ingress[0].ipMode \"vip\": write VIP or Proxy; 192.0.2.8 is not balanced",
        ],
    );
}
