//! Who is who: one certificate authority per cluster, one certificate per role.
//!
//! A certificate carries its role as a DNS name under `flinkctl.internal`; a peer is who it says when its certificate is
//! signed by the cluster's CA and valid for that name. Both sides always present one (mutual TLS), so that a
//! process of another cluster, or of the same cluster in another role, gets no further than the handshake or the
//! first message. The TLS provider is aws-lc-rs, the only one in the tree.

use std::{sync::Arc, time::Duration};

use flink_graph::{ClusterId, JobId};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
    server::WebPkiClientVerifier,
};
use serde::{Deserialize, Serialize};

/// A certificate could not be made or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The CA could not make or sign a certificate.
    #[error("could not issue a certificate: {0}")]
    Issue(#[from] rcgen::Error),
    /// A certificate or key does not hold together.
    #[error("the TLS identity is not usable: {0}")]
    Tls(#[from] rustls::Error),
    /// The client verifier could not be built.
    #[error("the cluster's CA is not usable: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// What a process of a cluster is; each may say only its own messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// The cluster's JobManager.
    JobManager,
    /// A TaskManager's supervisor process.
    TaskManager,
    /// A worker process of one job.
    Worker(JobId),
    /// A client: submits and watches jobs.
    Client,
}

impl Role {
    /// The DNS name that a certificate of this role is valid for; also the TLS server name to ask for when connecting to it.
    pub fn server_name(&self) -> String {
        match self {
            Self::JobManager => "jobmanager.flinkctl.internal".to_owned(),
            Self::TaskManager => "taskmanager.flinkctl.internal".to_owned(),
            Self::Worker(job) => format!("{job}.worker.flinkctl.internal"),
            Self::Client => "client.flinkctl.internal".to_owned(),
        }
    }

    /// True when `certificate` (DER, already verified against the CA by the handshake) is one of this role.
    pub fn matches(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok(name) = ServerName::try_from(self.server_name()) else {
            return false;
        };
        webpki::EndEntityCert::try_from(certificate)
            .is_ok_and(|certificate| certificate.verify_is_valid_for_subject_name(&name).is_ok())
    }
}

/// What one process proves itself with: its certificate, its key, and the CA it trusts. Travels over standard input
/// or an authenticated connection only; never through argv or the environment.
#[derive(Clone, Serialize, Deserialize)]
pub struct Identity {
    certificate: Vec<u8>,
    key: Vec<u8>,
    ca: Vec<u8>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity(..)")
    }
}

impl Identity {
    /// TLS configuration to connect with, offering `alpn`.
    ///
    /// # Errors
    /// When certificate and key do not belong together.
    pub fn client_config(&self, alpn: &[u8]) -> Result<ClientConfig, IdentityError> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(self.roots()?)
            .with_client_auth_cert(self.chain(), self.key())?;
        config.alpn_protocols = vec![alpn.to_vec()];
        Ok(config)
    }

    /// TLS configuration to accept with: demands a certificate of the same CA from the peer, accepts only `alpn`.
    ///
    /// # Errors
    /// When certificate and key do not belong together.
    pub fn server_config(&self, alpn: &[u8]) -> Result<ServerConfig, IdentityError> {
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()?), provider()).build()?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain(), self.key())?;
        config.alpn_protocols = vec![alpn.to_vec()];
        Ok(config)
    }

    fn roots(&self) -> Result<RootCertStore, IdentityError> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.ca.clone()))?;
        Ok(roots)
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![CertificateDer::from(self.certificate.clone())]
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()))
    }
}

/// The certificate authority of one cluster. Its key never leaves the JobManager's memory.
pub struct ClusterCa {
    issuer: Issuer<'static, KeyPair>,
    certificate: Vec<u8>,
    validity: Duration,
}

impl ClusterCa {
    /// A fresh CA (ECDSA P-256). Certificates it issues are valid from an hour ago (clock skew) for `validity`.
    ///
    /// # Errors
    /// When the key cannot be generated.
    pub fn generate(cluster: ClusterId, validity: Duration) -> Result<Self, IdentityError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params
            .distinguished_name
            .push(DnType::CommonName, format!("flinkctl cluster {cluster}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        set_validity(&mut params, validity);
        let certificate = params.self_signed(&key)?.der().to_vec();
        Ok(Self {
            issuer: Issuer::new(params, key),
            certificate,
            validity,
        })
    }

    /// A fresh key with a certificate of `role`.
    ///
    /// # Errors
    /// When key generation or signing fails.
    pub fn issue(&self, role: Role) -> Result<Identity, IdentityError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![role.server_name()])?;
        params.distinguished_name.push(DnType::CommonName, role.server_name());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        set_validity(&mut params, self.validity);
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Identity {
            certificate: certificate.der().to_vec(),
            key: key.serialize_der(),
            ca: self.certificate.clone(),
        })
    }
}

/// Hosts whose clock is behind by less than this still accept a fresh certificate.
const CLOCK_SKEW: Duration = Duration::from_secs(3600);

fn set_validity(params: &mut CertificateParams, validity: Duration) {
    let now = std::time::SystemTime::now();
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = (now + validity).into();
}

/// AES-128-GCM first: the fastest suite where CPUs have AES instructions, and its strength is that of the P-256 keys.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider
        .cipher_suites
        .sort_by_key(|suite| suite.suite() != rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
    Arc::new(provider)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_good_for_its_own_role_and_job_only() {
        let ca = ClusterCa::generate(ClusterId::random(), Duration::from_secs(60)).unwrap();
        let (job, other) = (JobId::random(), JobId::random());
        let identity = ca.issue(Role::Worker(job)).unwrap();
        let certificate = CertificateDer::from(identity.certificate.clone());
        assert!(Role::Worker(job).matches(&certificate));
        for role in [Role::Worker(other), Role::JobManager, Role::TaskManager, Role::Client] {
            assert!(!role.matches(&certificate), "{role:?}");
        }
    }

    #[test]
    fn an_identity_never_prints_its_key() {
        let ca = ClusterCa::generate(ClusterId::random(), Duration::from_secs(60)).unwrap();
        assert_eq!(format!("{:?}", ca.issue(Role::Client).unwrap()), "Identity(..)");
    }

    #[test]
    fn identities_make_working_configurations() {
        let ca = ClusterCa::generate(ClusterId::random(), Duration::from_secs(60)).unwrap();
        let identity = ca.issue(Role::JobManager).unwrap();
        assert_eq!(
            identity.server_config(b"x/1").unwrap().alpn_protocols,
            vec![b"x/1".to_vec()]
        );
        assert_eq!(
            identity.client_config(b"x/1").unwrap().alpn_protocols,
            vec![b"x/1".to_vec()]
        );
    }
}
