//! A named statement, and the values that it is explained with.

use crate::infrastructure::persistence::partitions::{WIDTH, for_partition};
use crate::infrastructure::persistence::pool::metrics::Statement;

/// The type of a parameter, and an expression for its value. `{sale}` is the number of the sale, `{of_sale}` the suffix of its partitions.
pub(crate) type Parameter = (&'static str, &'static str);

/// A statement of the service.
#[derive(Debug)]
pub(crate) struct Named {
    /// Its name: that of its kind, followed by a dot and what tells it from others of the kind.
    pub(crate) name: &'static str,
    /// What `flash_sale_db_query_duration_seconds` counts it under.
    pub(crate) kind: Statement,
    /// The statement, perhaps as a template for a partition.
    template: &'static str,
    parameters: &'static [Parameter],
}

/// The sale that statements are explained for.
#[derive(Debug, Clone)]
pub(crate) struct Example {
    /// Its number.
    pub(crate) sale: i64,
    /// The suffix of its partitions.
    pub(crate) suffix: String,
}

impl Example {
    /// A sale that exists, so that its partitions do.
    pub(crate) fn of(sale: i64) -> Self {
        Self { sale, suffix: format!("_from_{}", sale / WIDTH * WIDTH) }
    }
}

impl Named {
    pub(crate) const fn new(
        (name, kind): (&'static str, Statement),
        template: &'static str,
        parameters: &'static [Parameter],
    ) -> Self {
        Self { name, kind, template, parameters }
    }

    /// The text before a partition is named in it.
    pub(crate) fn template(&self) -> &'static str {
        self.template
    }

    /// The statement for the example's partition.
    pub(crate) fn statement(&self, example: &Example) -> String {
        for_partition(self.template, &example.suffix)
    }

    /// The types of its parameters.
    pub(crate) fn types(&self) -> Vec<&'static str> {
        self.parameters.iter().map(|(name, _)| *name).collect()
    }

    /// A query for an array with the values of all parameters, as literals of SQL.
    pub(crate) fn values(&self, example: &Example) -> String {
        let values = self.parameters.iter().map(|(name, expression)| {
            let expression = for_partition(expression, &example.suffix);
            let expression = expression.replace("{sale}", &example.sale.to_string());
            format!("quote_nullable(({expression})::{name})")
        });
        let values: Vec<String> = values.collect();
        format!("SELECT ARRAY[{}]::text[]", values.join(", "))
    }
}
