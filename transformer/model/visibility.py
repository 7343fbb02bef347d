"""Who may attend whom, as segments and as masks."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Visibility:
    """What the queries of one attention may see; kernels take it apart, `mask` makes it boolean.

    Attributes:
      key_segments: numbers of the sentences in a row of keys, 0 is padding and never seen. None:
        there is no padding that anything could see.
      query_segments: where given (packed rows), a query sees only the keys of its own segment.
      causal: hides later keys (section 3.2.3), and asks for T = S.
    """

    key_segments: Int[Array, "B S"] | None = None
    query_segments: Int[Array, "B T"] | None = None
    causal: bool = dataclasses.field(default=False, metadata={"static": True})

    def mask(self, num_queries: int) -> Bool[Array, "#B 1 #T S"] | None:
        """The one place that makes masks. True = may attend; None: everyone everything."""
        mask = None
        if self.key_segments is not None:
            mask = (self.key_segments > 0)[:, None, None, :]
            if self.query_segments is not None:
                own = self.query_segments[:, None, :, None] == self.key_segments[:, None, None, :]
                mask &= own
        if self.causal:
            earlier = jnp.tril(jnp.ones((1, 1, num_queries, num_queries), bool))
            mask = earlier if mask is None else mask & earlier
        return mask
