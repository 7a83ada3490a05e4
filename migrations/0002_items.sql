-- What a sale sells. `items` is frozen once its sale is open; `item_stock` is the only row that a purchase of an item
-- updates, so it is narrow and leaves room on its page (HOT updates: no index names `sold`).

CREATE TABLE items (
    sale_id   bigint NOT NULL,
    item_no   int    NOT NULL,
    item_id   text   COLLATE "C" NOT NULL,
    name      text   NOT NULL,
    image_url text   NOT NULL,
    CONSTRAINT items_pkey PRIMARY KEY (sale_id, item_no),
    CONSTRAINT items_id_unique UNIQUE (sale_id, item_id),
    CONSTRAINT items_no_positive CHECK (item_no > 0),
    CONSTRAINT items_id_length CHECK (char_length(item_id) BETWEEN 1 AND 64),
    CONSTRAINT items_name_length CHECK (char_length(name) BETWEEN 1 AND 200),
    CONSTRAINT items_image_url_length CHECK (char_length(image_url) BETWEEN 1 AND 2000)
) PARTITION BY RANGE (sale_id);

CREATE TABLE item_stock (
    sale_id bigint NOT NULL,
    item_no int    NOT NULL,
    stock   int    NOT NULL,
    sold    int    NOT NULL DEFAULT 0,
    CONSTRAINT item_stock_pkey PRIMARY KEY (sale_id, item_no),
    CONSTRAINT items_sold_within_stock CHECK (sold BETWEEN 0 AND stock)
) PARTITION BY RANGE (sale_id);
