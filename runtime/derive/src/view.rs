//! `#[record(view)]`: a struct that borrows from the encoded record what need not be copied, and `RecordView`.

use proc_macro2::{Group, Span, TokenStream, TokenTree};
use quote::{format_ident, quote};
use syn::{
    AngleBracketedGenericArguments, Field, Fields, GenericArgument, Generics, Ident, Lifetime, LifetimeParam,
    PathArguments, Result, Type, WherePredicate, parse_quote,
};

use crate::{
    attributes, bounds,
    input::{Input, Shape, braces, local, member, method, peel},
    record,
};

/// What a field becomes in the view.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// A `String`: `&'a str`.
    Text,
    /// A `Vec<u8>`: `&'a [u8]`.
    Bytes,
    /// A primitive: itself.
    Copied,
    /// Marked as a view: the view of its type.
    Viewed,
    /// Itself.
    Owned,
}

pub(crate) fn implement(input: &Input<'_>) -> Result<TokenStream> {
    let Shape::Struct(fields) = &input.shape else {
        return Ok(TokenStream::new());
    };
    let kinds = fields.iter().map(kind).collect::<Result<Vec<_>>>()?;
    if !kinds
        .iter()
        .any(|kind| matches!(kind, Kind::Text | Kind::Bytes | Kind::Viewed))
    {
        let message = format!(
            "a view of `{}` would borrow nothing: remove `view`, or mark the fields whose types have a view `#[record(view)]`",
            input.name()
        );
        return Err(syn::Error::new(
            input.container.view.unwrap_or_else(Span::call_site),
            message,
        ));
    }
    let view = View {
        input,
        fields,
        kinds,
        name: format_ident!("{}View", input.name()),
    };
    let (definition, implementation) = (view.definition(), view.implementation());
    Ok(quote!(#definition #implementation))
}

fn kind(field: &Field) -> Result<Kind> {
    if attributes::field_view(&field.attrs)?.is_some() {
        return Ok(Kind::Viewed);
    }
    if record::is_primitive(&field.ty) {
        return Ok(Kind::Copied);
    }
    let Type::Path(path) = peel(&field.ty) else {
        return Ok(Kind::Owned);
    };
    let Some(last) = path.path.segments.last() else {
        return Ok(Kind::Owned);
    };
    Ok(match &last.arguments {
        PathArguments::None if last.ident == "String" => Kind::Text,
        PathArguments::AngleBracketed(arguments) if last.ident == "Vec" && is_u8(arguments) => Kind::Bytes,
        _ => Kind::Owned,
    })
}

fn is_u8(arguments: &AngleBracketedGenericArguments) -> bool {
    match arguments.args.first() {
        Some(GenericArgument::Type(Type::Path(path))) if arguments.args.len() == 1 => path.path.is_ident("u8"),
        _ => false,
    }
}

struct View<'a> {
    input: &'a Input<'a>,
    fields: &'a Fields,
    kinds: Vec<Kind>,
    name: Ident,
}

impl View<'_> {
    /// The generics of the record and the lifetime of what is borrowed.
    fn generics(&self) -> Generics {
        let mut generics = self.input.generics().clone();
        let lifetime = LifetimeParam::new(Lifetime::new("'a", Span::call_site()));
        generics.params.insert(0, lifetime.into());
        generics
    }

    fn definition(&self) -> TokenStream {
        let (visibility, name) = (&self.input.ast.vis, &self.name);
        let krate = self.input.krate();
        let generics = self.generics();
        let (parameters, ..) = generics.split_for_impl();
        let clause = match &self.input.container.bounds {
            Some(bounds) => bounds::extend(self.input, bounds.iter().cloned()),
            None => bounds::extend(self.input, self.viewed_parameters()),
        };
        let fields = self.fields.iter().zip(&self.kinds).map(|(field, kind)| {
            let (docs, visibility, ty) = (attributes::docs(&field.attrs), &field.vis, &field.ty);
            let name = field.ident.iter();
            let ty = match kind {
                Kind::Text => quote!(&'a ::core::primitive::str),
                Kind::Bytes => quote!(&'a [::core::primitive::u8]),
                Kind::Copied | Kind::Owned => self.spell_out(quote!(#ty)),
                Kind::Viewed => {
                    let view = method(ty, &quote!(#krate::RecordView), "View");
                    let view = self.spell_out(view);
                    quote!(#view<'a>)
                }
            };
            quote!(#docs #visibility #(#name:)* #ty)
        });
        let docs = format!("A [`{}`] that borrows its text and bytes.", self.input.text());
        let derives = &self.input.container.derives;
        let derives = quote!(#[derive(::core::clone::Clone, ::core::fmt::Debug, #(#derives),*)]);
        match self.fields {
            Fields::Unnamed(_) => quote! {
                #[doc = #docs]
                #derives
                #visibility struct #name #parameters (#(#fields),*) #clause;
            },
            _ => quote! {
                #[doc = #docs]
                #derives
                #visibility struct #name #parameters #clause { #(#fields),* }
            },
        }
    }

    /// Names the record where its definition says `Self`, which in the view is another type.
    fn spell_out(&self, tokens: TokenStream) -> TokenStream {
        let replaced = tokens.into_iter().map(|token| match token {
            TokenTree::Ident(ident) if ident == "Self" => {
                let (_, arguments, _) = self.input.generics().split_for_impl();
                let name = self.input.name();
                quote!(#name #arguments)
            }
            TokenTree::Group(group) => {
                let content = self.spell_out(group.stream());
                let mut replaced = Group::new(group.delimiter(), content);
                replaced.set_span(group.span());
                TokenTree::from(replaced).into()
            }
            other => other.into(),
        });
        replaced.collect()
    }

    fn viewed_parameters(&self) -> Vec<WherePredicate> {
        let krate = self.input.krate();
        let viewed = self
            .fields
            .iter()
            .zip(&self.kinds)
            .filter(|(_, kind)| **kind == Kind::Viewed);
        let viewed: Vec<&Type> = viewed.map(|(field, _)| &field.ty).collect();
        let parameters = bounds::parameters_in(self.input, &viewed);
        parameters
            .iter()
            .map(|name| parse_quote!(#name: #krate::RecordView))
            .collect()
    }

    fn implementation(&self) -> TokenStream {
        let (record, name, krate) = (self.input.name(), &self.name, self.input.krate());
        let (generics, arguments, _) = self.input.generics().split_for_impl();
        let view_generics = self.generics();
        let (_, view_arguments, _) = view_generics.split_for_impl();
        let clause = self.clause();
        let (borrowed, decode, owned) = (self.borrowed(), self.decode(), self.owned());
        let elided = elide(&view_generics);
        quote! {
            #[automatically_derived]
            impl #generics #krate::RecordView for #record #arguments #clause {
                type View<'a> = #name #view_arguments;

                #[inline]
                fn view(&self) -> #name #elided {
                    #borrowed
                }

                #[inline]
                fn decode_view<'a>(
                    __input: &mut &'a [u8],
                ) -> ::core::result::Result<#name #view_arguments, #krate::DecodeError> {
                    #decode
                }

                #[inline]
                fn from_view(__view: #name #elided) -> Self {
                    #owned
                }
            }
        }
    }

    fn clause(&self) -> syn::WhereClause {
        if let Some(bounds) = &self.input.container.bounds {
            return bounds::extend(self.input, bounds.iter().cloned());
        }
        let krate = self.input.krate();
        let view = quote!(::core::clone::Clone + ::core::fmt::Debug);
        let mut clause = bounds::where_clause(
            self.input,
            &quote!(#krate::Record + #view),
            &quote!(::core::marker::Send + #view + 'static),
        );
        clause.predicates.extend(self.viewed_parameters());
        clause
    }

    fn borrowed(&self) -> TokenStream {
        let (name, krate, pattern) = (&self.name, self.input.krate(), braces(self.fields));
        let values = self
            .fields
            .iter()
            .zip(&self.kinds)
            .enumerate()
            .map(|(index, (field, kind))| {
                let (member, local, ty) = (member(index, field), local(index), &field.ty);
                let value = match kind {
                    Kind::Copied => quote!(*#local),
                    Kind::Owned => {
                        let clone = method(ty, &quote!(::core::clone::Clone), "clone");
                        quote!(#clone(#local))
                    }
                    _ => {
                        let convert = method(ty, &quote!(#krate::RecordView), "view");
                        quote!(#convert(#local))
                    }
                };
                quote!(#member: #value)
            });
        quote! {
            let Self #pattern = self;
            #name { #(#values),* }
        }
    }

    fn decode(&self) -> TokenStream {
        let (name, krate, values) = (&self.name, self.input.krate(), braces(self.fields));
        let lets = record::decode_fields(self.input, self.fields, |index, ty| match self.kinds.get(index) {
            Some(Kind::Copied | Kind::Owned) | None => method(ty, &quote!(#krate::Record), "decode"),
            Some(_) => method(ty, &quote!(#krate::RecordView), "decode_view"),
        });
        quote! {
            #lets
            ::core::result::Result::Ok(#name #values)
        }
    }

    fn owned(&self) -> TokenStream {
        let (name, krate, pattern) = (&self.name, self.input.krate(), braces(self.fields));
        let values = self
            .fields
            .iter()
            .zip(&self.kinds)
            .enumerate()
            .map(|(index, (field, kind))| {
                let (member, local, ty) = (member(index, field), local(index), &field.ty);
                let value = match kind {
                    Kind::Copied | Kind::Owned => quote!(#local),
                    _ => {
                        let convert = method(ty, &quote!(#krate::RecordView), "from_view");
                        quote!(#convert(#local))
                    }
                };
                quote!(#member: #value)
            });
        quote! {
            let #name #pattern = __view;
            Self { #(#values),* }
        }
    }
}

/// The arguments with the lifetime left out.
fn elide(generics: &Generics) -> TokenStream {
    let mut elided = generics.clone();
    if let Some(syn::GenericParam::Lifetime(lifetime)) = elided.params.first_mut() {
        lifetime.lifetime.ident = format_ident!("_");
    }
    let (_, arguments, _) = elided.split_for_impl();
    quote!(#arguments)
}
