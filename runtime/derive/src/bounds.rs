//! The bounds of a generic implementation: what the fields need, and no more.
//!
//! Bounds are on type parameters, not on the types of fields: `Vec<Tree<T>>: Record` in an implementation for `Tree<T>` would be
//! a circle that the compiler refuses.

use std::collections::HashSet;

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Ident, PathSegment, Type, TypePath, WhereClause, WherePredicate, parse_quote, visit::Visit};

use crate::input::Input;

/// The `where` clause of an implementation of `needed` for the type: its own, and `needed` for what its fields use of its type
/// parameters, `otherwise` for the parameters that they do not use.
pub(crate) fn where_clause(input: &Input<'_>, needed: &TokenStream, otherwise: &TokenStream) -> WhereClause {
    let used = Used::by_fields(input);
    let mut predicates: Vec<WherePredicate> = Vec::new();
    for parameter in input.generics().type_params() {
        let name = &parameter.ident;
        let bound = if used.parameters.contains(name) {
            needed
        } else {
            otherwise
        };
        predicates.push(parse_quote!(#name: #bound));
    }
    for projection in &used.projections {
        predicates.push(parse_quote!(#projection: #needed));
    }
    extend(input, predicates)
}

/// The type's own `where` clause with more predicates.
pub(crate) fn extend(input: &Input<'_>, predicates: impl IntoIterator<Item = WherePredicate>) -> WhereClause {
    let mut clause = input
        .generics()
        .where_clause
        .clone()
        .unwrap_or_else(|| parse_quote!(where));
    clause.predicates.extend(predicates);
    clause
}

/// The `where` clause of `Record`.
pub(crate) fn of_record(input: &Input<'_>) -> WhereClause {
    if let Some(bounds) = &input.container.bounds {
        return extend(input, bounds.iter().cloned());
    }
    let krate = input.krate();
    where_clause(input, &quote!(#krate::Record), &quote!(::core::marker::Send + 'static))
}

/// Whether the implementation of `Record` knows that the type parameter is one.
pub(crate) fn is_record(input: &Input<'_>, parameter: &Ident) -> bool {
    if input.container.bounds.is_some() {
        return false;
    }
    Used::by_fields(input).parameters.contains(parameter)
}

/// The type parameters that the types use.
pub(crate) fn parameters_in(input: &Input<'_>, types: &[&Type]) -> HashSet<Ident> {
    Used::by(input, types).parameters
}

/// Finds the type parameters in types.
struct Used<'a> {
    declared: HashSet<&'a Ident>,
    parameters: HashSet<Ident>,
    projections: Vec<TypePath>,
}

impl<'a> Used<'a> {
    fn by_fields(input: &Input<'a>) -> Self {
        let types: Vec<&Type> = input.fields().map(|field| &field.ty).collect();
        Self::by(input, &types)
    }

    fn by(input: &Input<'a>, types: &[&Type]) -> Self {
        let mut used = Self {
            declared: input
                .generics()
                .type_params()
                .map(|parameter| &parameter.ident)
                .collect(),
            parameters: HashSet::new(),
            projections: Vec::new(),
        };
        for ty in types {
            used.visit_type(ty);
        }
        used
    }

    fn is_parameter(&self, ty: &Type) -> bool {
        matches!(ty, Type::Path(path) if path.qself.is_none()
            && path.path.get_ident().is_some_and(|name| self.declared.contains(name)))
    }
}

impl<'ast> Visit<'ast> for Used<'_> {
    fn visit_type_path(&mut self, path: &'ast TypePath) {
        if let Some(this) = &path.qself {
            // `<T as Trait>::Name`
            if self.is_parameter(&this.ty) {
                self.projections.push(path.clone());
                return;
            }
        } else if path.path.leading_colon.is_none()
            && let Some(first) = path.path.segments.first()
            && self.declared.contains(&first.ident)
        {
            if path.path.segments.len() == 1 {
                self.parameters.insert(first.ident.clone());
            } else {
                self.projections.push(path.clone());
            }
        }
        syn::visit::visit_type_path(self, path);
    }

    fn visit_path_segment(&mut self, segment: &'ast PathSegment) {
        // It holds no value of its parameter.
        if segment.ident != "PhantomData" {
            syn::visit::visit_path_segment(self, segment);
        }
    }
}
