//! Expressions as the kernel lists them.

use netlink_bindings::nftables::{
    CmpOps, CtKeys, ExprOps, IterableDataAttrs, IterableExprListAttrs, RejectInetCode, RejectTypes,
    VerdictCode,
};
use netlink_bindings::utils::{ErrorContext, IterableChunks, find_attr};

use super::expression::{Expression, Meta, Value};
use super::names::MAPS;
use super::numbers::{
    BEHIND_IPV4, BEHIND_IPV6, DATA, DNAT, FULLY_RANDOM, LOOKUP, LOOKUP_DREG, LOOKUP_FLAGS,
    LOOKUP_SET, LOOKUP_SREG, MASQUERADE, MASQUERADE_FLAGS, NAME, REGISTER,
};

impl Expression {
    /// A rule's expressions as the kernel lists them; none if one of them is not of ours. Attributes that we do not set do not
    /// matter: newer kernels may list more.
    pub fn list(list: &IterableExprListAttrs<'_>) -> Option<Vec<Self>> {
        let elements = IterableChunks::new(list.get_buf());
        let in_order = list.get_elem();
        in_order
            .zip(elements)
            .map(|(element, (_, raw))| match element.get_data() {
                Ok(ExprOps::Lookup(_)) | Err(_) => of_raw(raw),
                Ok(data) => Self::of(&data).ok().flatten(),
            })
            .collect()
    }

    fn of(data: &ExprOps<'_>) -> Result<Option<Self>, ErrorContext> {
        let found = match data {
            ExprOps::Meta(meta) => {
                let key = Meta::of(meta.get_key()?);
                match (meta.get_dreg(), meta.get_sreg()) {
                    (Ok(REGISTER), Err(_)) => key.map(Self::Load),
                    (Err(_), Ok(REGISTER)) => key.map(Self::Store),
                    _ => None,
                }
            }
            ExprOps::Ct(ct) => {
                let is_ours = ct.get_dreg()? == REGISTER
                    && ct.get_key()? == CtKeys::State as u32
                    && ct.get_sreg().is_err();
                is_ours.then_some(Self::LoadConnectionState)
            }
            ExprOps::Bitwise(bitwise) => {
                let registers = (bitwise.get_sreg()?, bitwise.get_dreg()?);
                let mask = Value::of(bitwise.get_mask()?.get_value()?);
                let xor = Value::of(bitwise.get_xor()?.get_value()?);
                match (registers, mask, xor) {
                    ((REGISTER, REGISTER), Some(Value::Word(mask)), Some(Value::Word(xor))) => {
                        Some(Self::Mask { mask, xor })
                    }
                    _ => None,
                }
            }
            ExprOps::Cmp(cmp) if cmp.get_sreg()? == REGISTER => {
                let value = Value::of(cmp.get_data()?.get_value()?);
                match cmp.get_op()? {
                    op if op == CmpOps::Eq as u32 => value.map(Self::Is),
                    op if op == CmpOps::Neq as u32 => value.map(Self::IsNot),
                    _ => None,
                }
            }
            ExprOps::Immediate(immediate) => {
                immediate_of(immediate.get_dreg()?, &immediate.get_data()?)?
            }
            ExprOps::Counter(_) => Some(Self::Count),
            ExprOps::Reject(reject) => match reject.get_type()? {
                kind if kind == RejectTypes::TcpRst as u32 => Some(Self::RejectWithReset),
                kind if kind == RejectTypes::IcmpxUnreach as u32 => {
                    let is_ours = reject.get_icmp_code()? == RejectInetCode::IcmpxPortUnreach as u8;
                    is_ours.then_some(Self::RejectWithUnreachable)
                }
                _ => None,
            },
            ExprOps::Nat(nat) => {
                let (address, port) = (nat.get_reg_addr_min()?, nat.get_reg_proto_min()?);
                match (nat.get_type()?, nat.get_family()?.cast_signed()) {
                    (DNAT, libc::NFPROTO_IPV4) if (address, port) == (REGISTER, BEHIND_IPV4) => {
                        Some(Self::DnatIpv4)
                    }
                    (DNAT, libc::NFPROTO_IPV6) if (address, port) == (REGISTER, BEHIND_IPV6) => {
                        Some(Self::DnatIpv6)
                    }
                    _ => None,
                }
            }
            _ => None,
        };
        Ok(found)
    }
}

fn immediate_of(
    register: u32,
    data: &IterableDataAttrs<'_>,
) -> Result<Option<Expression>, ErrorContext> {
    if register == REGISTER {
        return Ok(match Value::of(data.get_value()?) {
            Some(Value::Word(word)) => Some(Expression::Set(word)),
            _ => None,
        });
    }
    Ok(match data.get_verdict()?.get_code()? {
        code if code == VerdictCode::Accept as u32 => Some(Expression::Accept),
        code if code == VerdictCode::Drop as u32 => Some(Expression::Drop),
        _ => None,
    })
}

fn of_raw(element: &[u8]) -> Option<Expression> {
    let data = find_attr(element, DATA)?;
    let word = |kind| Some(u32::from_be_bytes(find_attr(data, kind)?.try_into().ok()?));
    match find_attr(element, NAME)? {
        MASQUERADE => (word(MASQUERADE_FLAGS)? == FULLY_RANDOM).then_some(Expression::Masquerade),
        LOOKUP => {
            let is_ours = word(LOOKUP_SREG)? == REGISTER
                && word(LOOKUP_DREG)? == REGISTER
                && word(LOOKUP_FLAGS).unwrap_or_default() == 0;
            let name = find_attr(data, LOOKUP_SET)?;
            let map = MAPS
                .into_iter()
                .find(|map| map.to_bytes_with_nul() == name)?;
            is_ours.then_some(Expression::LookUp(map))
        }
        _ => None,
    }
}
