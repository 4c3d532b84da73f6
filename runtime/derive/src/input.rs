//! What a derive was applied to, checked: both macros refuse the same types, in the same words.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{
    Data, DeriveInput, Field, Fields, GenericParam, Generics, Ident, Index, Member, Path, Result, Type, ext::IdentExt,
    spanned::Spanned, visit::Visit,
};

use crate::attributes::{self, Container};

/// A struct or an enum that can be a record.
pub(crate) struct Input<'a> {
    pub(crate) ast: &'a DeriveInput,
    pub(crate) container: Container,
    pub(crate) shape: Shape<'a>,
}

/// Its content.
pub(crate) enum Shape<'a> {
    Struct(&'a Fields),
    Enum(Vec<&'a syn::Variant>),
}

/// The variants that an index of two bytes tells apart.
const MAX_VARIANTS: usize = 1 << 16;

impl<'a> Input<'a> {
    /// Checks `ast`, to which the derive macro named `macro_name` was applied.
    pub(crate) fn new(ast: &'a DeriveInput, macro_name: &str) -> Result<Self> {
        let container = Container::parse(&ast.attrs)?;
        if let Some(GenericParam::Lifetime(lifetime)) = ast
            .generics
            .params
            .iter()
            .find(|param| matches!(param, GenericParam::Lifetime(_)))
        {
            return Err(syn::Error::new_spanned(
                lifetime,
                "a record owns what it holds: remove the lifetime and use owned types such as `String` (to read without copying, \
                 `#[record(view)]` generates a borrowed view)",
            ));
        }
        let shape = match &ast.data {
            Data::Struct(data) => Shape::Struct(&data.fields),
            Data::Enum(data) => Shape::Enum(data.variants.iter().collect()),
            Data::Union(data) => {
                return Err(syn::Error::new(
                    data.union_token.span(),
                    format!(
                        "`{macro_name}` cannot be derived for a union, whose content is not known: use an enum, or implement the trait by hand"
                    ),
                ));
            }
        };
        let input = Self { ast, container, shape };
        input.check()?;
        Ok(input)
    }

    fn check(&self) -> Result<()> {
        if let Shape::Enum(variants) = &self.shape {
            if let Some(span) = self.container.view {
                return Err(syn::Error::new(span, "only structs have views: remove `view`"));
            }
            if let Some(variant) = variants.get(MAX_VARIANTS) {
                return Err(syn::Error::new_spanned(variant, "a record has at most 65536 variants"));
            }
            for variant in variants {
                attributes::refuse(&variant.attrs)?;
            }
        }
        let mut errors: Option<syn::Error> = None;
        for field in self.fields() {
            let marked = attributes::field_view(&field.attrs)?;
            if let (Some(span), None) = (marked, self.container.view) {
                return Err(syn::Error::new(
                    span,
                    "a field is viewed only in a view of its struct: write `#[record(view)]` on the struct too",
                ));
            }
            let mut borrows = Borrows(&mut errors);
            borrows.visit_type(&field.ty);
        }
        errors.map_or(Ok(()), Err)
    }

    /// All fields, those of an enum variant by variant.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &'a Field> {
        let all: Vec<&Fields> = match &self.shape {
            Shape::Struct(fields) => vec![*fields],
            Shape::Enum(variants) => variants.iter().map(|variant| &variant.fields).collect(),
        };
        all.into_iter().flatten()
    }

    pub(crate) fn name(&self) -> &'a Ident {
        &self.ast.ident
    }

    pub(crate) fn generics(&self) -> &'a Generics {
        &self.ast.generics
    }

    pub(crate) fn krate(&self) -> &Path {
        &self.container.krate
    }

    /// Its name as a literal.
    pub(crate) fn text(&self) -> String {
        self.ast.ident.unraw().to_string()
    }
}

/// How a field is accessed and constructed: by name, or by position.
pub(crate) fn member(index: usize, field: &Field) -> Member {
    match &field.ident {
        Some(name) => Member::Named(name.clone()),
        None => Member::Unnamed(Index::from(index)),
    }
}

/// The local variable that holds a field.
pub(crate) fn local(index: usize) -> Ident {
    format_ident!("__field_{index}", span = Span::mixed_site())
}

/// `{ name: local, ... }`: a pattern as well as an expression, for all kinds of fields.
pub(crate) fn braces(fields: &Fields) -> TokenStream {
    let members = fields.iter().enumerate().map(|(index, field)| {
        let (member, local) = (member(index, field), local(index));
        quote!(#member: #local)
    });
    quote!({ #(#members),* })
}

/// `<ty as bound>::name`. Errors about the bound point at the type; lints know that it is a macro's.
pub(crate) fn method(ty: &Type, bound: &TokenStream, name: &str) -> TokenStream {
    let span = Span::mixed_site().located_at(ty.span());
    let name = Ident::new(name, span);
    quote_spanned!(span=> <#ty as #bound>::#name)
}

/// The type without what a macro may have wrapped around it.
pub(crate) fn peel(mut ty: &Type) -> &Type {
    loop {
        match ty {
            Type::Group(group) => ty = &group.elem,
            Type::Paren(paren) => ty = &paren.elem,
            _ => return ty,
        }
    }
}

/// Collects an error for each borrow in a type.
struct Borrows<'e>(&'e mut Option<syn::Error>);

impl Borrows<'_> {
    fn refuse(&mut self, ty: &dyn ToTokens, message: &str) {
        let error = syn::Error::new_spanned(ty, message);
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            None => *self.0 = Some(error),
        }
    }
}

impl<'ast> Visit<'ast> for Borrows<'_> {
    fn visit_type(&mut self, ty: &'ast Type) {
        match ty {
            Type::Reference(reference) => {
                let instead = match peel(&reference.elem) {
                    Type::Path(path) if path.path.is_ident("str") => "`String`",
                    Type::Slice(_) => "`Vec`",
                    _ => "the type itself, or a `Box` or `Arc` of it",
                };
                self.refuse(
                    ty,
                    &format!("a record owns what it holds, and a reference does not: use {instead}"),
                );
            }
            Type::Ptr(_) => self.refuse(
                ty,
                "a pointer means nothing in another process: use the value itself, or a `Box`",
            ),
            Type::BareFn(_) => self.refuse(
                ty,
                "a function cannot be sent to another process: use an enum of the choices",
            ),
            Type::TraitObject(_) => self.refuse(
                ty,
                "the type behind `dyn` is not known when it is read: use an enum of the possible types",
            ),
            _ => syn::visit::visit_type(self, ty),
        }
    }

    fn visit_path_segment(&mut self, segment: &'ast syn::PathSegment) {
        if segment.ident != "PhantomData" {
            syn::visit::visit_path_segment(self, segment);
        }
    }
}
