//! `Key`: the hash of a tuple of the fields, an enum's variant index first.

use proc_macro2::TokenStream;
use quote::quote;
use syn::Fields;

use crate::{
    bounds,
    input::{Input, Shape, braces, local, method},
};

/// Where the hash of a sequence begins.
const SEED: u32 = 1;

pub(crate) fn implement(input: &Input<'_>) -> TokenStream {
    let (name, krate) = (input.name(), input.krate());
    let (generics, arguments, _) = input.generics().split_for_impl();
    let clause = bounds::where_clause(
        input,
        &quote!(#krate::Key),
        &quote!(::core::marker::Send + ::core::cmp::Eq + ::core::hash::Hash + ::core::clone::Clone + 'static),
    );
    let body = match &input.shape {
        Shape::Struct(fields) => {
            let (pattern, hash) = (braces(fields), combine(input, quote!(#SEED), fields));
            quote! {
                let Self #pattern = self;
                #hash
            }
        }
        Shape::Enum(variants) if variants.is_empty() => quote!(match *self {}),
        Shape::Enum(variants) => {
            let arms = variants.iter().enumerate().map(|(index, variant)| {
                let (name, pattern) = (&variant.ident, braces(&variant.fields));
                let start = SEED.wrapping_mul(31).wrapping_add(index as u32);
                let hash = combine(input, quote!(#start), &variant.fields);
                quote!(Self::#name #pattern => { #hash })
            });
            quote!(match self { #(#arms)* })
        }
    };
    quote! {
        #[automatically_derived]
        impl #generics #krate::Key for #name #arguments #clause {
            #[inline]
            fn stable_hash(&self) -> u32 {
                #body
            }
        }
    }
}

fn combine(input: &Input<'_>, start: TokenStream, fields: &Fields) -> TokenStream {
    let krate = input.krate();
    fields.iter().enumerate().fold(start, |hash, (index, field)| {
        let (local, ty) = (local(index), &field.ty);
        let next = method(ty, &quote!(#krate::Key), "stable_hash");
        quote!(u32::wrapping_add(u32::wrapping_mul(#hash, 31), #next(#local)))
    })
}
