//! Expressions as netlink attributes.

use netlink_bindings::nftables::{
    CmpOps, CtKeys, PushExprListAttrs, RejectInetCode, RejectTypes, VerdictCode,
};
use netlink_bindings::traits::Pusher;
use netlink_bindings::utils::{finalize_nested_header, push_header, push_nested_header};

use super::expression::{Expression, Value};
use super::numbers::{
    BEHIND_IPV4, BEHIND_IPV6, DATA, DNAT, ELEMENT, FULLY_RANDOM, LOOKUP, LOOKUP_DREG, LOOKUP_SET,
    LOOKUP_SREG, MASQUERADE, MASQUERADE_FLAGS, NAME, REGISTER, VERDICT,
};

impl Expression {
    /// Appends it to a rule's list.
    pub fn push<P: Pusher>(self, list: PushExprListAttrs<P>) -> PushExprListAttrs<P> {
        match self {
            Self::Load(meta) => list
                .nested_elem()
                .nested_data_meta()
                .push_dreg(REGISTER)
                .push_key(meta.key())
                .end_nested()
                .end_nested(),
            Self::Store(meta) => list
                .nested_elem()
                .nested_data_meta()
                .push_key(meta.key())
                .push_sreg(REGISTER)
                .end_nested()
                .end_nested(),
            Self::LoadConnectionState => list
                .nested_elem()
                .nested_data_ct()
                .push_dreg(REGISTER)
                .push_key(CtKeys::State as u32)
                .end_nested()
                .end_nested(),
            Self::Mask { mask, xor } => list
                .nested_elem()
                .nested_data_bitwise()
                .push_sreg(REGISTER)
                .push_dreg(REGISTER)
                .push_len(4)
                .nested_mask()
                .push_value(&mask.to_ne_bytes())
                .end_nested()
                .nested_xor()
                .push_value(&xor.to_ne_bytes())
                .end_nested()
                .end_nested()
                .end_nested(),
            Self::Is(value) => push_comparison(list, CmpOps::Eq, value),
            Self::IsNot(value) => push_comparison(list, CmpOps::Neq, value),
            Self::Set(word) => list
                .nested_elem()
                .nested_data_immediate()
                .push_dreg(REGISTER)
                .nested_data()
                .push_value(&word.to_ne_bytes())
                .end_nested()
                .end_nested()
                .end_nested(),
            Self::LookUp(map) => push_raw(
                list,
                LOOKUP,
                &[
                    (LOOKUP_SET, map.to_bytes_with_nul()),
                    (LOOKUP_SREG, &REGISTER.to_be_bytes()),
                    (LOOKUP_DREG, &REGISTER.to_be_bytes()),
                ],
            ),
            Self::Count => list
                .nested_elem()
                .nested_data_counter()
                .end_nested()
                .end_nested(),
            Self::Accept => push_verdict(list, VerdictCode::Accept),
            Self::Drop => push_verdict(list, VerdictCode::Drop),
            Self::RejectWithReset => list
                .nested_elem()
                .nested_data_reject()
                .push_type(RejectTypes::TcpRst as u32)
                .push_icmp_code(0)
                .end_nested()
                .end_nested(),
            Self::RejectWithUnreachable => list
                .nested_elem()
                .nested_data_reject()
                .push_type(RejectTypes::IcmpxUnreach as u32)
                .push_icmp_code(RejectInetCode::IcmpxPortUnreach as u8)
                .end_nested()
                .end_nested(),
            Self::DnatIpv4 => push_dnat(list, libc::NFPROTO_IPV4, BEHIND_IPV4),
            Self::DnatIpv6 => push_dnat(list, libc::NFPROTO_IPV6, BEHIND_IPV6),
            Self::Masquerade => push_raw(
                list,
                MASQUERADE,
                &[(MASQUERADE_FLAGS, &FULLY_RANDOM.to_be_bytes())],
            ),
        }
    }
}

fn push_comparison<P: Pusher>(
    list: PushExprListAttrs<P>,
    op: CmpOps,
    value: Value,
) -> PushExprListAttrs<P> {
    let data = list
        .nested_elem()
        .nested_data_cmp()
        .push_sreg(REGISTER)
        .push_op(op as u32)
        .nested_data();
    match value {
        Value::Byte(byte) => data.push_value(&[byte]),
        Value::Word(word) => data.push_value(&word.to_ne_bytes()),
    }
    .end_nested()
    .end_nested()
    .end_nested()
}

fn push_verdict<P: Pusher>(list: PushExprListAttrs<P>, code: VerdictCode) -> PushExprListAttrs<P> {
    list.nested_elem()
        .nested_data_immediate()
        .push_dreg(VERDICT)
        .nested_data()
        .nested_verdict()
        .push_code(code as u32)
        .end_nested()
        .end_nested()
        .end_nested()
        .end_nested()
}

fn push_dnat<P: Pusher>(
    list: PushExprListAttrs<P>,
    family: libc::c_int,
    port: u32,
) -> PushExprListAttrs<P> {
    list.nested_elem()
        .nested_data_nat()
        .push_type(DNAT)
        .push_family(family.cast_unsigned())
        .push_reg_addr_min(REGISTER)
        .push_reg_proto_min(port)
        .end_nested()
        .end_nested()
}

/// For the expressions that `netlink-bindings` does not have right ([`super::numbers`]).
fn push_raw<P: Pusher>(
    mut list: PushExprListAttrs<P>,
    name: &[u8],
    attributes: &[(u16, &[u8])],
) -> PushExprListAttrs<P> {
    let bytes = list.as_vec_mut();
    let element = push_nested_header(bytes, ELEMENT);
    push_attribute(bytes, NAME, name);
    let data = push_nested_header(bytes, DATA);
    for (kind, value) in attributes {
        push_attribute(bytes, *kind, value);
    }
    finalize_nested_header(bytes, data);
    finalize_nested_header(bytes, element);
    list
}

fn push_attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    push_header(bytes, kind, length);
    bytes.extend_from_slice(value);
}
