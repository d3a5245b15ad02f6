//! What a handle is: the ways to one actor, message by message, without its type.

use actix::{Message, Recipient};

/// That a handle reaches its actor with messages of this type.
pub trait Reaches<M>
where
    M: Message + Send,
    M::Result: Send,
{
    /// The way.
    fn recipient(&self) -> &Recipient<M>;
}

/// Makes the handle of an actor out of the messages that it takes. Cheap to clone.
macro_rules! handle {
    ($(#[$doc:meta])* $handle:ident, $ways:ident { $($way:ident: $message:ty),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $handle(std::sync::Arc<$ways>);

        struct $ways { $($way: actix::Recipient<$message>),+ }

        impl $handle {
            /// The handle of the actor at this address.
            pub fn of<A>(actor: &actix::Addr<A>) -> Self
            where
                A: actix::Actor<Context = actix::Context<A>> $(+ actix::Handler<$message>)+,
            {
                $handle(std::sync::Arc::new($ways { $($way: actor.clone().recipient()),+ }))
            }

            /// Sends a message that needs no answer, in the order in which this sender sends.
            pub fn do_send<M>(&self, message: M)
            where
                M: actix::Message + Send,
                M::Result: Send,
                Self: $crate::actors::messages::Reaches<M>,
            {
                $crate::actors::messages::Reaches::<M>::recipient(self).do_send(message);
            }

            /// Sends a message whose answer is awaited. Dropping the future takes the message back.
            pub fn send<M>(&self, message: M) -> actix::dev::RecipientRequest<M>
            where
                M: actix::Message + Send + 'static,
                M::Result: Send,
                Self: $crate::actors::messages::Reaches<M>,
            {
                $crate::actors::messages::Reaches::<M>::recipient(self).send(message)
            }
        }

        impl std::fmt::Debug for $handle {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(stringify!($handle))
            }
        }

        $(impl $crate::actors::messages::Reaches<$message> for $handle {
            fn recipient(&self) -> &actix::Recipient<$message> {
                &self.0.$way
            }
        })+
    };
}
