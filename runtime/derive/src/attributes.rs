//! The `#[record(...)]` attributes of types and fields.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{
    Attribute, LitStr, Path, Result, Token, WherePredicate, meta::ParseNestedMeta, parse_quote, punctuated::Punctuated,
    spanned::Spanned,
};

/// The options of a type.
pub(crate) struct Container {
    /// Where the traits are.
    pub(crate) krate: Path,
    /// Where a view was asked for.
    pub(crate) view: Option<Span>,
    /// What the view derives besides `Clone` and `Debug`.
    pub(crate) derives: Vec<Path>,
    /// The bounds that replace the inferred ones.
    pub(crate) bounds: Option<Vec<WherePredicate>>,
}

impl Container {
    pub(crate) fn parse(attributes: &[Attribute]) -> Result<Self> {
        let mut container = Self {
            krate: parse_quote!(::flink),
            view: None,
            derives: Vec::new(),
            bounds: None,
        };
        let mut derives = None;
        for attribute in records(attributes) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("derive") {
                    derives = Some(meta.path.span());
                }
                container.option(&meta)
            })?;
        }
        if let (Some(span), None) = (derives, container.view) {
            return Err(syn::Error::new(
                span,
                "these are the derives of a view: write `#[record(view, derive(...))]`",
            ));
        }
        Ok(container)
    }

    fn option(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        if meta.path.is_ident("view") {
            self.view = Some(meta.path.span());
        } else if meta.path.is_ident("derive") {
            let content;
            syn::parenthesized!(content in meta.input);
            self.derives
                .extend(Punctuated::<Path, Token![,]>::parse_terminated(&content)?);
        } else if meta.path.is_ident("crate") {
            self.krate = meta.value()?.parse::<LitStr>()?.parse_with(Path::parse_mod_style)?;
        } else if meta.path.is_ident("bound") {
            let text: LitStr = meta.value()?.parse()?;
            let bounds = text.parse_with(Punctuated::<WherePredicate, Token![,]>::parse_terminated)?;
            self.bounds = Some(bounds.into_iter().collect());
        } else {
            return Err(
                meta.error("unknown option: a type has `view`, `derive(...)`, `bound = \"...\"` and `crate = \"...\"`")
            );
        }
        Ok(())
    }
}

/// Where a field was marked `#[record(view)]`, if it was.
pub(crate) fn field_view(attributes: &[Attribute]) -> Result<Option<Span>> {
    let mut view = None;
    for attribute in records(attributes) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("view") {
                view = Some(meta.path.span());
                Ok(())
            } else {
                Err(meta.error("unknown option: a field has `view`"))
            }
        })?;
    }
    Ok(view)
}

/// Refuses `#[record(...)]` where it has no meaning.
pub(crate) fn refuse(attributes: &[Attribute]) -> Result<()> {
    match records(attributes).next() {
        Some(attribute) => Err(syn::Error::new_spanned(attribute, "a variant has no options")),
        None => Ok(()),
    }
}

/// The documentation in `attributes`, to be repeated elsewhere.
pub(crate) fn docs(attributes: &[Attribute]) -> TokenStream {
    let docs = attributes.iter().filter(|attribute| attribute.path().is_ident("doc"));
    quote!(#(#docs)*)
}

fn records(attributes: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("record"))
}
