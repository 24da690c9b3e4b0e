//! The addresses at which a Service is met.

use super::{check, check_problems};

#[test]
fn every_kind_of_frontend() {
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
fn families_follow_the_addresses_when_nothing_is_said() {
    check(
        "kind: Service\nmetadata: {name: web}\nspec: {clusterIP: 'fd00::1', ports: [{port: 53, protocol: UDP}]}\n",
        &["default/web/UDP (IPv6) all [ClusterIP fd00::1 53] -> "],
    );
}

#[test]
fn source_ranges_leave_the_load_balancer_to_the_packet_path() {
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
    check_problems(
        &with("' 10.0.0.0/8'"),
        &[without],
        &[
            "status.loadBalancer.ingress[0].ip: 192.0.2.9 is not balanced, since spec.loadBalancerSourceRanges",
        ],
    );
    check(&with("10.0.0.0/8, 0.0.0.0/0"), &[open]);
    check(&with("'fd00::/8'"), &[open]);
    check_problems(
        &with("10.0.0.0/33"),
        &[open],
        &["spec.loadBalancerSourceRanges[0] \"10.0.0.0/33\""],
    );
}

#[test]
fn bad_addresses_are_reported_and_left_out() {
    check_problems(
        "kind: Service\nmetadata: {name: web}\nspec:\n  clusterIP: 10.96.0.1\n  ports: [{port: 80}]\n  \
         externalIPs: [web, '2001:db8::1', 0.0.0.0, 192.0.2.1]\n",
        &["default/web/TCP (IPv4) all [ClusterIP 10.96.0.1 80, ExternalIP 192.0.2.1 80] -> "],
        &[
            "spec.externalIPs[0]: \"web\" is not an IP address",
            "spec.externalIPs[1]: 2001:db8::1 is not of the Service's family",
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
fn an_ip_mode_is_a_word_of_the_api() {
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
