//! How expressions count: with doubles, as a number of JSON is one whether it happens to be whole or not.

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::common::types::{CelDouble, CelInt, CelUInt, DYN_TYPE};
use cel::common::value::CowVal;
use cel::{Env, ExecutionError};

/// The function that makes a double of a number and leaves all else as it is; nobody can write its name.
const COUNTED: &str = "@counted";

/// Adds what [`count_with_doubles`] calls.
pub fn add_to(env: &mut Env) -> Result<(), cel::DeclarationError> {
    env.add_overload(COUNTED, COUNTED, vec![DYN_TYPE], counted)
}

fn counted<'b, 'v>(mut values: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let value = values.pop();
    let value = value.ok_or_else(ExecutionError::missing_argument_or_target)?;
    let double = if let Some(whole) = value.downcast_ref::<CelInt>() {
        *whole.inner() as f64
    } else if let Some(whole) = value.downcast_ref::<CelUInt>() {
        *whole.inner() as f64
    } else {
        return Ok(value);
    };
    Ok(CowVal::owned(CelDouble::from(double)))
}

/// Lets every operand of `+`, `-`, `*` and `/` be a double where it is a number, and of `%` a whole one.
pub fn count_with_doubles(expression: &mut IdedExpr) {
    match &mut expression.expr {
        Expr::Call(call) => {
            call.target
                .iter_mut()
                .for_each(|target| count_with_doubles(target));
            call.args.iter_mut().for_each(count_with_doubles);
            match call.func_name.as_str() {
                operators::ADD
                | operators::SUBSTRACT
                | operators::MULTIPLY
                | operators::DIVIDE
                | operators::NEGATE => {
                    call.args
                        .iter_mut()
                        .for_each(|operand| wrap(operand, COUNTED));
                }
                operators::MODULO => call
                    .args
                    .iter_mut()
                    .for_each(|operand| wrap(operand, "int")),
                _ => {}
            }
        }
        Expr::Comprehension(loops) => {
            let parts = [
                &mut loops.iter_range,
                &mut loops.accu_init,
                &mut loops.loop_cond,
                &mut loops.loop_step,
                &mut loops.result,
            ];
            parts.into_iter().for_each(count_with_doubles);
        }
        Expr::List(list) => list.elements.iter_mut().for_each(count_with_doubles),
        Expr::Map(map) => {
            for entry in &mut map.entries {
                entry_of(&mut entry.expr);
            }
        }
        Expr::Struct(made) => {
            for entry in &mut made.entries {
                entry_of(&mut entry.expr);
            }
        }
        Expr::Select(select) => count_with_doubles(&mut select.operand),
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
    }
}

fn entry_of(entry: &mut EntryExpr) {
    match entry {
        EntryExpr::StructField(field) => count_with_doubles(&mut field.value),
        EntryExpr::MapEntry(entry) => {
            count_with_doubles(&mut entry.key);
            count_with_doubles(&mut entry.value);
        }
    }
}

fn wrap(operand: &mut IdedExpr, function: &str) {
    if let (Expr::Literal(LiteralValue::Int(whole)), COUNTED) = (&operand.expr, function) {
        let double = CelDouble::from(*whole.inner() as f64);
        operand.expr = Expr::Literal(LiteralValue::Double(double));
        return;
    }
    let (id, inner) = (operand.id, std::mem::take(operand));
    *operand = IdedExpr {
        id,
        expr: Expr::Call(CallExpr {
            func_name: function.to_owned(),
            target: None,
            args: vec![inner],
        }),
    };
}
